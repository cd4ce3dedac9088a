"""Plumbing of every stage; no result depends on it."""
