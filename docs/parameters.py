"""Writes docs/parameters.md, the reference of all parameters: `python docs/parameters.py`."""

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from ruamel.yaml import YAML

from stages.check import model_of

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "parameters.md"
HEAD = """# Parameters

Every parameter of `params.yaml`, with its default. Made by `python docs/parameters.py` from the parameter models
in `stages/`; do not edit this page. `params.yaml` holds the values of the embedded pipeline, `profiles/` those of
real runs.
"""
BOUNDS = {
    "ge": "≥ {}",
    "gt": "> {}",
    "le": "≤ {}",
    "lt": "< {}",
    "min_length": "at least {}",
    "max_length": "at most {}",
}


def page() -> str:
    """The whole page as Markdown."""
    stages = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return HEAD + "".join(section(stage, model_of(stage)) for stage in stages)


def section(stage: str, model: type[BaseModel]) -> str:
    """One stage's table."""
    rows = "".join(f"| `{name}` | {kind} | {default} | {text} |\n" for name, kind, default, text in fields(model))
    return f"\n## {stage}\n\n| parameter | type | default | meaning |\n|---|---|---|---|\n{rows}"


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Name, type with bounds, default and meaning of each field.

    The fields of a model inside follow it.
    """
    for name, field in model.model_fields.items():
        yield prefix + name, cell(kind(field)), cell(default(field)), cell(field.description or "")
        if inner := model_inside(field.annotation):
            yield from fields(inner, f"{prefix}{name}.")


def kind(field: FieldInfo) -> str:
    """The type in words, and its bounds."""
    bounds = [
        text.format(value)
        for item in field.metadata
        for key, text in BOUNDS.items()
        if (value := getattr(item, key, None)) is not None
    ]
    return ", ".join([words(field.annotation), *bounds])


def words(annotation: Any) -> str:
    """A type as a reader of YAML calls it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(words(part) for part in inner)
    if origin in (tuple, list):
        return f"list of {words(inner[0])}"
    if origin is dict:
        return f"{words(inner[0])} → {words(inner[1])}"
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    names = {int: "whole number", float: "number", str: "text", bool: "true or false"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def default(field: FieldInfo) -> str:
    """The default as YAML has it; "required" where there is none."""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return ""
    return f"`{'null' if value is None else str(value).lower() if isinstance(value, bool) else yaml_text(value)}`"


def yaml_text(value: Any) -> str:
    """A value in one line."""
    return f"[{', '.join(map(yaml_text, value))}]" if isinstance(value, tuple | list) else str(value)


def model_inside(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, perhaps in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := model_inside(part))), None)


def cell(text: str) -> str:
    """Text that does not end a cell of the table."""
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
