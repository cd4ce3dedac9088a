"""Settings files of a model's folder, which may hold anything."""

import json
from pathlib import Path
from typing import Any

from stages.run.errors import UserError


def settings(file: Path) -> dict[str, Any]:
    """The JSON object in a file, empty where there is no file.

    UserError when the file holds something else.
    """
    if not file.exists():
        return {}
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{file} holds no JSON object; take the model's own file, or remove it")
    return found
