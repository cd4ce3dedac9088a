"""The matrix of evaluations: models × benchmarks × numbers of frames."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field

from stages.run.errors import UserError
from stages.run.params import Params, load_params

ItemName = Annotated[str, Field(min_length=1)]
"""Names a folder, and an item in dvc.yaml: an empty one ends DVC with an assertion, before any stage runs."""


class Matrix(Params):
    """The part of the section `report` that dvc.yaml makes its items of."""

    model_config = ConfigDict(extra="ignore")  # the other parameters of the section are the report's own

    models: tuple[ItemName, ...] = Field(
        default=("base", "sft", "tgrpo"), min_length=1, description="models to compare, in the order of training"
    )
    benchmarks: tuple[ItemName, ...] = Field(
        default=("shapes",),
        min_length=1,
        description="benchmarks; dvc.yaml evaluates each model on each of them with each number of frames",
    )
    frames: tuple[int, ...] = Field(default=(16,), min_length=1, description="largest numbers of frames per clip")

    @property
    def benchmark_items(self) -> list[tuple[str, int]]:
        """Each benchmark with each number of frames."""
        return [(name, frames) for name in self.benchmarks for frames in self.frames]

    @property
    def benchmark_folders(self) -> set[str]:
        """The names of the folders that the stage benchmark makes."""
        return {f"{name}-{frames}" for name, frames in self.benchmark_items}

    @property
    def prediction_files(self) -> set[str]:
        """The names of the tables that the stage evaluate makes."""
        return {f"{model}-{folder}.parquet" for model in self.models for folder in self.benchmark_folders}


def load_matrix(settings: Path) -> Matrix:
    """The matrix in params.yaml."""
    return load_params(Matrix, "report", settings)


def check_leftovers(folder: Path, expected: Collection[str]) -> None:
    """UserError when a folder of results holds more than `expected`.

    DVC takes no list of files from params.yaml as a stage's deps, so a stage that reads all results depends on their
    folder. The hash of a folder with leftovers would go to dvc.lock, and no other clone could have that folder.
    """
    present = folder.iterdir() if folder.is_dir() else ()
    leftovers = sorted(str(path) for path in present if path.name not in expected and not path.name.startswith("."))
    if leftovers:
        raise UserError(
            f"{folder} holds results that report.models, report.benchmarks and report.frames do not name, and dvc.lock "
            f"would hold their hashes; remove them: rm -r {' '.join(leftovers)}"
        )
