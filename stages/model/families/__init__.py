"""The model families, one file each.

A new family is a new file here, named like its `model_type`, that defines `FAMILY`.
"""

from pathlib import Path

FAMILIES = tuple(sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py")))
