"""The records of an evaluation: outputs of engines, and scored predictions."""

from pathlib import Path
from typing import Literal, TypedDict, cast

import pyarrow as pa
import pyarrow.parquet as pq

from stages.data.grading import is_well_formed, named_option
from stages.data.order import Order
from stages.data.outputs import Output
from stages.data.sample import ProblemType, Sample
from stages.evaluation.definition import Benchmark, Profile, Scores, extract
from stages.evaluation.judgements import Judgement
from stages.run.errors import UserError
from stages.run.schemas import Int32, schema_of

Status = Literal["ok", "no_answer", "truncated", "error"]


class _Answer(TypedDict):
    sample_id: str
    order: Order
    category: str
    problem_type: ProblemType
    answer: str
    text: str
    prediction: str | None
    prediction_video_r1: str | None
    option: str | None
    status: Status
    well_formed: bool


class PredictionRow(_Answer, Scores):
    """One scored answer, as a `ScoredRow` and more.

    `text` is the whole output. `prediction` and `prediction_video_r1` are the answer inside it, as each profile
    extracts and scores it; None without one. `option` is the letter of the option that `prediction` names, None without
    one and for other answer types. `answer` is the right answer. `judgement` is None where no judge has to do with the
    answer. The other fields are those of `Output`.
    """

    tokens: Int32
    frame_order: list[Int32]
    n_frames: Int32
    width: Int32
    height: Int32
    detail: str
    judgement: Judgement | None


JUDGED_SCHEMA = schema_of(PredictionRow)
PREDICTION_SCHEMA = JUDGED_SCHEMA.remove(JUDGED_SCHEMA.get_field_index("judgement"))
"""Of the tables that no judge has to do with."""


def read_predictions(path: Path) -> list[PredictionRow]:
    """The rows of a predictions table; UserError when the file is none."""
    if path.is_dir():  # pyarrow would read all tables in it as one
        raise UserError(f"{path} is a folder; name one table of predictions in it")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: cannot be read as predictions ({error})") from None
    if table.column_names not in (PREDICTION_SCHEMA.names, JUDGED_SCHEMA.names):
        columns = ", ".join(PREDICTION_SCHEMA.names)
        raise UserError(f"{path}: a table, but not of predictions; a predictions table has the columns {columns}")
    return [cast(PredictionRow, {"judgement": None, **row}) for row in table.to_pylist()]


def prediction_row(sample: Sample, output: Output, benchmark: Benchmark) -> PredictionRow:
    """One row of the predictions table from an engine's output.

    An output with status `error` is no answer of the model. It has no scores and counts in no accuracy.
    """
    prediction = extract(output["text"], "official")
    return {
        "sample_id": output["sample_id"],
        "order": output["order"],
        "category": sample.category,
        "problem_type": sample.problem_type,
        "answer": sample.answer,
        "text": output["text"],
        "prediction": prediction,
        "prediction_video_r1": extract(output["text"], "video-r1"),
        "option": named_option(prediction or "", sample.options) if sample.problem_type == "multiple choice" else None,
        "status": "no_answer" if output["status"] == "ok" and not prediction else output["status"],
        "well_formed": is_well_formed(output["text"]),
        "official": _score(sample, output, benchmark, "official"),
        "video-r1": _score(sample, output, benchmark, "video-r1"),
        "tokens": output["tokens"],
        "frame_order": output["frame_order"],
        "n_frames": output["n_frames"],
        "width": output["width"],
        "height": output["height"],
        "detail": output["detail"],
        "judgement": None,
    }


def graded_answer(row: PredictionRow, profile: Profile) -> str | None:
    """The answer that was scored in `profile`, None without one."""
    return row["prediction"] if profile == "official" else row["prediction_video_r1"]


def _score(sample: Sample, output: Output, benchmark: Benchmark, profile: Profile) -> float | None:
    if output["status"] == "error":
        return None
    return benchmark.score(extract(output["text"], profile), sample, profile)
