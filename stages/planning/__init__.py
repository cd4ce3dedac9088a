"""The memory and hours of a training run, before it starts.

size of the model → work of a step → memory → hours.
"""
