"""Asks a model questions: the engines, and the answers that are kept."""
