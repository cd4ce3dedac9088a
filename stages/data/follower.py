"""A table that is read in step with the samples."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Generic, TypeVar, cast

from stages.run.errors import UserError
from stages.run.files import iterate_rows

Row = TypeVar("Row", bound=Mapping[str, object])


class Follower(Generic[Row]):
    """Reads a table in step with the samples, whose order it has."""

    def __init__(self, path: Path | None, row_type: type[Row]) -> None:
        """`row_type`: a TypedDict of the columns to read.

        Without a path the table counts as empty.
        """
        self._path = path
        rows = iterate_rows(path, list(row_type.__annotations__)) if path else iter(())
        self._rows = cast(Iterator[Row], rows)
        self._next = next(self._rows, None)

    def rows_of(self, sample_id: str) -> list[Row]:
        """The sample's rows; call it for each sample in order."""
        rows: list[Row] = []
        while self._next is not None and self._next["sample_id"] == sample_id:
            rows.append(self._next)
            self._next = next(self._rows, None)
        return rows

    def finish(self) -> None:
        """UserError when rows are left over.

        Such rows belong to no sample or stand in another order.
        """
        if self._next is not None:
            raise UserError(
                f"{self._path} has rows for {self._next['sample_id']}, which the samples do not have at this place; "
                "run the stage that writes the file again"
            )
