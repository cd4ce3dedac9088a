"""The schema of a table, from the typed record of its rows."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints, is_typeddict

import pyarrow as pa

Int32 = Annotated[int, pa.int32()]
UInt64 = Annotated[int, pa.uint64()]

_TYPES: Mapping[Any, pa.DataType] = {
    str: pa.string(),
    bytes: pa.binary(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
}


def schema_of(*records: type, exact: bool = False) -> pa.Schema:
    """The columns of the fields of a record, in their order.

    Several records share a table that has the fields of all. `exact` forbids null where a field is never None.
    """
    fields = {name: hint for record in records for name, hint in get_type_hints(record, include_extras=True).items()}
    return pa.schema(
        [pa.field(name, arrow_type(hint), not exact or type(None) in get_args(hint)) for name, hint in fields.items()]
    )


def arrow_type(hint: Any) -> pa.DataType:
    """Arrow's type of a field; KeyError when there is none."""
    origin, inner = get_origin(hint), [part for part in get_args(hint) if part not in (type(None), ...)]
    if origin is Annotated:
        return inner[1]
    if origin is Literal:
        return pa.string()
    if origin in (list, tuple):
        return pa.list_(arrow_type(inner[0]))
    if is_typeddict(hint):
        return pa.struct(schema_of(hint))
    if len(inner) == 1:  # `X | None` or `NotRequired[X]`
        return arrow_type(inner[0])
    return _TYPES[hint]
