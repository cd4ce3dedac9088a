"""Parameters: one section of params.yaml per stage, read into a strict, frozen, bounded pydantic model that stands in the stage's file."""

import difflib
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML, YAMLError

from stages.run.errors import UserError


class Params(BaseModel):
    """Base of every parameter model: unknown keys, wrong types and values out of bounds are errors."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


P = TypeVar("P", bound=Params)


def load_params(model: type[P], section: str, path: Path = Path("params.yaml"), item: str | None = None) -> P:
    """The section of a YAML file as `model`; UserError with one line per bad value, naming the nearest known key for an unknown one.

    With `item` the section holds, under `defaults`, what is common to several things, and under their names what differs; the parameters
    are then those of `item`. YAML 1.2 as DVC reads it (`1e-6` is a number), checked as JSON so that lists may fill tuples and a date
    is the text that was written.
    """
    try:
        document = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path}: no such file; run from the project's folder or pass --params") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    sections = document if isinstance(document, dict) else {}
    if section not in sections:
        raise UserError(f"{path}: no section '{section}'{_nearest(section, sections)}")
    values = sections[section]
    if item is not None:
        if not isinstance(values, dict) or not isinstance(values.get("defaults"), dict):
            raise UserError(
                f"{path}: no '{section}.defaults', which holds what is common; what differs for {item} goes to '{section}.{item}'"
            )
        own = values.get(item) or {}
        values = values["defaults"] | own if isinstance(own, dict) else own
    try:
        return model.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise UserError("; ".join(_explain(path, section, model, item) for item in error.errors())) from None


def _explain(path: Path, section: str, model: type[BaseModel], item: Any) -> str:
    place = ".".join([section, *(str(part) for part in item["loc"])])
    if item["type"] == "extra_forbidden":
        return (
            f"{path}: unknown parameter '{place}'{_nearest(str(item['loc'][-1]), _fields_at(model, item['loc'][:-1]))}"
        )
    if (
        item["type"] == "value_error"
    ):  # of a model's own rule, which says what is wrong; the input may be a whole section
        return f"{path}: '{place}': {item['ctx']['error']}"
    return f"{path}: '{place}' is {json.dumps(item['input'], default=str)}: {item['msg']}"


def _fields_at(model: Any, location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the model that sits at `location` below `model` (annotations are followed, list indices skipped)."""
    for part in location:
        if (
            isinstance(part, str)
            and isinstance(model, type)
            and issubclass(model, BaseModel)
            and part in model.model_fields
        ):
            model = _model_inside(model.model_fields[part].annotation)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _model_inside(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in getattr(annotation, "__args__", ()) if (found := _model_inside(part))), None)


def _nearest(name: str, known: Any) -> str:
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"; did you mean '{match[0]}'?" if match else f"; known: {', '.join(known)}" if known else ""
