"""Asks a model questions: engines that answer, and the answers that are kept."""
