"""Parameters: one section of params.yaml for each stage.

The stage's own model checks the section.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML, YAMLError

from stages.run.errors import UserError

MOST_VALUES = 20_000  # of a file of parameters, aliases written out
LARGEST_SEED = 2**32 - 1  # that every generator of random numbers takes
PASSWORD = re.compile(r"://[^/\s\"]*@")  # user and password of an address
DEEPEST = 20  # levels of sections inside sections


class Params(BaseModel):
    """Base of every parameter model: strict and frozen.

    Unknown keys, wrong types, values out of bounds, infinity and NaN are errors.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


P = TypeVar("P", bound=Params)


def load_params(model: type[P], section: str, path: Path = Path("params.yaml"), item: str | None = None) -> P:
    """A section of a YAML file as `model`.

    With `item`, the section holds the common values under `defaults` and the values of each item under its name; the
    result is the defaults with the item's own values in their place. The file is YAML 1.2, as DVC reads it: `1e-6` is a
    number. The values are checked as JSON: a list fills a tuple, and a date stays the text that was written.

    UserError with one line names every bad value, and the nearest known key for an unknown key.
    """
    sections = read_sections(path)
    if section not in sections:
        raise UserError(f"{path}: no section '{section}'{_nearest(section, map(str, sections))}")
    values = sections[section] if item is None else _values_of_item(sections[section], section, item, path)
    try:
        return model.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        found = error.errors()
        inside = {other["loc"][:-depth] for other in found for depth in range(1, len(other["loc"]))}
        # A list with one bad item counts as too short as well, which helps nobody.
        named = [wrong for wrong in found if wrong["type"] != "too_short" or wrong["loc"] not in inside]
        raise UserError("; ".join(_explain(path, section, model, wrong) for wrong in named)) from None


def read_sections(path: Path) -> dict[object, object]:
    """The sections of a file of parameters.

    The result is empty when the file holds no mapping.

    UserError when the file is absent, is no valid YAML, or holds more than a file of parameters can need.
    """
    try:
        document = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path}: no such file; run from the project's folder or pass --params") from None
    except (YAMLError, ValueError) as error:  # no text, or a number with too many digits
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{path}: sections are nested too deeply; at most {DEEPEST} levels are read") from None
    _check_size(document, path)
    return document if isinstance(document, dict) else {}


def _check_size(document: object, path: Path) -> None:
    """UserError for a document whose aliases grow without bound or contain themselves."""
    for count, depth in enumerate(_depths(document, 0), start=1):
        if depth > DEEPEST:
            raise UserError(f"{path}: sections are nested too deeply; at most {DEEPEST} levels are read")
        if count > MOST_VALUES:
            raise UserError(f"{path}: more than {MOST_VALUES} values; does an alias (*name) repeat itself?")


def _depths(value: object, depth: int) -> Iterator[int]:
    """The level of each value below `value`, aliases written out."""
    yield depth
    if depth <= DEEPEST:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        for part in inner:
            yield from _depths(part, depth + 1)


def _values_of_item(values: object, section: str, item: str, path: Path) -> object:
    if not isinstance(values, dict) or not isinstance(values.get("defaults"), dict):
        raise UserError(
            f"{path}: no '{section}.defaults', which holds the common values; "
            f"the values of {item} alone go to '{section}.{item}'"
        )
    own = values.get(item) or {}
    return values["defaults"] | own if isinstance(own, dict) else own


def _explain(path: Path, section: str, model: type[BaseModel], wrong: ErrorDetails) -> str:
    place = ".".join([section, *map(str, wrong["loc"])])
    if wrong["type"] == "extra_forbidden":
        known = _fields_at(model, wrong["loc"][:-1])
        return f"{path}: unknown parameter '{place}'{_nearest(str(wrong['loc'][-1]), known)}"
    if wrong["type"] == "value_error":  # a rule of the model says what is wrong; the input can be a whole section
        return f"{path}: '{place}': {wrong.get('ctx', {})['error']}"
    shown = PASSWORD.sub("://…@", json.dumps(wrong["input"], default=str))
    return f"{path}: '{place}' is {shown}: {wrong['msg']}"


def _fields_at(model: type[BaseModel] | None, location: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the model at `location` below `model`.

    Numbers of list items are passed over.
    """
    for part in location:
        if isinstance(part, str) and model and part in model.model_fields:
            model = _model_inside(model.model_fields[part].annotation)
    return list(model.model_fields) if model else []


def _model_inside(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_inside(part))), None)


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    return f"; did you mean '{match[0]}'?" if match else f"; known: {', '.join(names)}" if names else ""
