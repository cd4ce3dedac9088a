"""How a model was asked.

A difference of two results is a gain only where the models were asked in the same way.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import JsonValue

Conditions = Mapping[str, JsonValue]

_KEY: Final = b"asked"  # of the metadata of a predictions table


def with_conditions(schema: pa.Schema, conditions: Conditions) -> pa.Schema:
    """The schema of a predictions table that holds them."""
    return schema.with_metadata({_KEY: json.dumps(conditions, ensure_ascii=False)})


def read_conditions(predictions: Path) -> Conditions | None:
    """How the answers in a predictions table were asked for.

    None for a table that was written before this was recorded.
    """
    metadata = pq.read_schema(predictions).metadata or {}
    return json.loads(metadata[_KEY]) if _KEY in metadata else None


def differences(asked: Mapping[str, Conditions | None]) -> str:
    """In what the models' conditions differ, "" in nothing.

    `asked` holds them by the models' names: "payload: images (SFT), video (T-GRPO)".
    """
    unknown = [model for model, conditions in asked.items() if conditions is None]
    known = {model: conditions for model, conditions in asked.items() if conditions is not None}
    if unknown and len(asked) > 1:
        return f"how {', '.join(unknown)} was asked is not recorded"
    names = dict.fromkeys(name for conditions in known.values() for name in conditions)
    by_name = {name: {model: _shown(conditions.get(name)) for model, conditions in known.items()} for name in names}
    return "; ".join(f"{name}: {_values(values)}" for name, values in by_name.items() if len(set(values.values())) > 1)


def _shown(value: JsonValue) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _values(by_model: Mapping[str, str]) -> str:
    """Each value with the models that it belongs to."""
    models: dict[str, Sequence[str]] = {}
    for model, value in by_model.items():
        models[value] = [*models.get(value, ()), model]
    return ", ".join(f"{value} ({', '.join(names)})" for value, names in models.items())
