"""Plumbing of every stage: command line, parameters, files, progress and work folders. No result depends on it."""
