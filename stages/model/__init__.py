"""Models, their inputs and their training.

`families/` has a file for each family.
"""
