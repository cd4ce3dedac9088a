"""Settings files of a model's folder, which may hold anything."""

from pathlib import Path
from typing import Any

from stages.model.load import read_object


def settings(file: Path) -> dict[str, Any]:
    """The JSON object in a file, empty where there is no file.

    UserError when the file holds something else.
    """
    return read_object(file) if file.exists() else {}
