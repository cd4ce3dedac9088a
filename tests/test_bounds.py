"""Values at the bounds of every number in the parameters.

A stage ends well or refuses them in one line.
"""

import contextlib
import json
import types
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

import pytest
from annotated_types import Ge, Gt, Le, Lt
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from stages import annotate, base, filter, frames, ingest, shapes
from stages.chat.annotation_parameters import AnnotateParams
from stages.run.errors import UserError
from stages.run.params import LARGEST_SEED, Params
from tests.architecture.test_directions import STAGES
from tests.fault_server import fault_server

SMALL: dict[str, dict[str, object]] = {  # a run of each stage that takes a moment
    "shapes": {"sft": 4, "rl": 2, "benchmark": 2},
    "ingest": {"root": "shapes", "sources": [{"name": "s", "records": "sft.json"}], "max_rejected": 1.0, "workers": 1},
    "frames": {
        **{
            "policy": "uniform",
            "kernel": "pillow",
            "max_frames": 4,
            "min_pixels": 2304,
            "max_pixels": 2304,
            "factor": 16,
        },
        **{"workers": 1, "max_rejected": 1.0},
    },
    "annotate": {"model": "teacher", "retries": 0, "timeout_s": 5.0},
    "filter": {"held_out": "samples.parquet"},
    "base": {"align_steps": 2, "align_clips": 1},
}
TOO_SLOW = ("annotate.requests_per_minute", "annotate.tokens_per_minute")  # at their bounds they are a wait, as asked

P = TypeVar("P", bound=Params)


class Number(NamedTuple):
    """A field that holds a number."""

    stage: str
    name: str
    kind: type
    field: FieldInfo

    @property
    def place(self) -> str:
        return f"{self.stage}.{self.name}"

    def bound(self, *kinds: type) -> float | None:
        """The value of the first bound of these kinds."""
        found = [getattr(each, each.__class__.__name__.lower()) for each in self.field.metadata if type(each) in kinds]
        return found[0] if found else None

    def extremes(self) -> list[float]:
        """The lowest values, ten, and the highest."""
        values: list[float] = []
        if (lowest := self.bound(Ge)) is not None:
            values += [lowest, lowest + 1, 10] if self.kind is int else [lowest]
        if (above := self.bound(Gt)) is not None:
            values += [above + 1] if self.kind is int else [above + 1e-6]
        if (highest := self.bound(Le)) is not None:
            values.append(highest)
        if (below := self.bound(Lt)) is not None:
            values.append(below - 1e-6)
        highest = self.bound(Le)
        return [value for value in dict.fromkeys(values) if highest is None or value <= highest]


def model_of(stage: str) -> type[Params]:
    return get_type_hints(import_module(f"stages.{stage}").run)["params"]


def numbers(stage: str) -> Iterator[Number]:
    """The numbers of a stage's parameters.

    Those inside other models are left out.
    """
    for name, field in model_of(stage).model_fields.items():
        kinds = get_args(field.annotation) if get_origin(field.annotation) in (Union, types.UnionType) else ()
        for kind in (field.annotation, *kinds):
            if kind in (int, float):
                yield Number(stage, name, kind, field)


@pytest.mark.parametrize("number", [each for stage in STAGES for each in numbers(stage)], ids=lambda each: each.place)
def test_every_number_has_a_lowest_value(number: Number) -> None:
    assert number.extremes(), f"{number.place} takes any number"
    if number.name == "seed":
        assert number.bound(Le) == LARGEST_SEED


@pytest.mark.parametrize("stage", STAGES)
def test_no_number_is_infinite(stage: str) -> None:
    assert model_of(stage).model_config.get("allow_inf_nan") is False


def test_infinity_is_refused() -> None:
    for value in (float("inf"), float("nan")):
        with pytest.raises(ValidationError, match="finite"):
            AnnotateParams(timeout_s=value)


def run_stage(stage: str, folder: Path, out: Path, url: str, changes: dict[str, object]) -> None:
    """Run a stage on the inputs in `folder`; it writes to `out`."""
    values = SMALL[stage] | changes
    match stage:
        case "shapes":
            shapes.run(model(shapes.ShapesParams, values), out / "shapes")
        case "base":
            base.run(model(base.BaseParams, values), out / "base", out / "base.json")
        case "ingest":
            parameters = model(ingest.IngestParams, values | {"root": str(folder / "shapes")})
            names = ("samples.parquet", "quarantine.parquet", "media", "ingest.json")
            ingest.run(parameters, *(out / name for name in names))
        case "frames":
            names = ("frames", "frames.parquet", "clips.parquet", "frames-rejects.parquet", "frames.json")
            outputs = [out / name for name in names]
            frames.run(model(frames.FramesParams, values), folder / "samples.parquet", *outputs)
        case "annotate":
            inputs = [folder / name for name in ("samples.parquet", "frames", "frames.parquet")]
            names = ("responses", "annotations.parquet", "annotate.json")
            parameters = model(AnnotateParams, values | {"base_url": url, "answers": str(out / "answers")})
            annotate.run(parameters, inputs[0], inputs[1], inputs[2], out / names[0], out / names[1], out / names[2])
        case _:
            inputs = [folder / name for name in ("samples.parquet", "annotations.parquet")]
            names = ("sft.parquet", "rl.parquet", "rejects.parquet", "filter.json")
            parameters = model(filter.FilterParams, values | {"held_out": str(folder / "samples.parquet")})
            sets, tables = [out / name for name in names[:2]], [out / name for name in names[2:]]
            filter.run(parameters, inputs[0], inputs[1], sets[0], sets[1], tables[0], tables[1])


def model(kind: type[P], values: dict[str, object]) -> P:
    return kind.model_validate_json(json.dumps(values))


CASES = [
    pytest.param(number, value, id=f"{number.place}={value:g}", marks=pytest.mark.slow)
    for stage in SMALL
    for number in numbers(stage)
    if number.place not in TOO_SLOW
    for value in number.extremes()
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The outputs of small runs, and the address of a teacher."""
    folder = tmp_path_factory.mktemp("inputs")
    with fault_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for stage in ("shapes", "ingest", "frames", "annotate"):
            run_stage(stage, folder, folder, server.url, {})
        yield folder, server.url


@pytest.mark.parametrize(("number", "value"), CASES)
def test_a_value_at_a_bound_ends_well_or_is_refused_in_one_line(
    number: Number, value: float, inputs: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = inputs
    monkeypatch.chdir(tmp_path)
    with contextlib.suppress(UserError, ValidationError):
        run_stage(number.stage, folder, tmp_path, url, {number.name: value})
