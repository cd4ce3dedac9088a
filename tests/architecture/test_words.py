"""How code speaks to its readers."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

MOST_WORDS = 12
FOLDERS = ("stages", "flows", "speed", "experiments", "docs")


def first_lines(source: str) -> list[str]:
    """The first lines of all docstrings in a file."""
    nodes = ast.walk(ast.parse(source))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(node) for node in nodes if isinstance(node, documented)]
    return [text.splitlines()[0] for text in found if text]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_first_line_of_a_docstring_has_at_most_twelve_words(folder: str) -> None:
    lines = [(path, line) for path in files(folder) for line in first_lines(path.read_text(encoding="utf-8"))]
    assert lines
    assert [f"{path}: {line}" for path, line in lines if len(line.split()) > MOST_WORDS] == []


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))
