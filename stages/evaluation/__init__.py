"""Evaluation: engines that answer, the table of predictions, and its statistics."""
