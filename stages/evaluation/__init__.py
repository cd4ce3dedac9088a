"""Evaluation: benchmarks, engines that answer, the table of predictions, and metrics."""
