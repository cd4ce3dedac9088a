"""The schema of a record, and the columns of all tables, which readers of older files rely on."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pyarrow as pa
import pytest
from pydantic import BaseModel

from stages.data.annotations import ANNOTATION_SCHEMA, ANSWER_SCHEMA
from stages.data.object_table import OBJECT_SCHEMA
from stages.data.outputs import OUTPUT_SCHEMA
from stages.data.probed import PROBED_SCHEMA
from stages.data.rollouts import ROLLOUT_SCHEMA
from stages.data.sample import REJECT_SCHEMA, TRAINING_SCHEMA
from stages.evaluation.predictions import JUDGED_SCHEMA
from stages.run.schemas import arrow_type, schema_of
from stages.video.clips import CLIPS_SCHEMA
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA

TABLES = {
    "answers": (
        ANSWER_SCHEMA,
        "key string, model string, status string, detail string, text string, reasoning string, prompt_tokens int64, "
        "completion_tokens int64",
    ),
    "annotations": (
        ANNOTATION_SCHEMA,
        "sample_id string, request_key string, status string, detail string, text string, prompt_tokens int64, "
        "completion_tokens int64",
    ),
    "objects": (OBJECT_SCHEMA, "address string, etag string, size int64, sha256 string"),
    "outputs": (
        OUTPUT_SCHEMA,
        "key string, sample_id string, order string, text string, status string, tokens int64, "
        "frame_order list<item: int64>, n_frames int64, width int64, height int64, detail string",
    ),
    "probed": (
        PROBED_SCHEMA,
        "sample_id string, order string, text string, status string, answer string, grade double, tokens int32, "
        "detail string",
    ),
    "rollouts": (
        ROLLOUT_SCHEMA,
        "sample_id string, step int32, order string, text string, answer string, accuracy double, format double, "
        "temporal double, length double, advantage double, gain double",
    ),
    "training set": (
        TRAINING_SCHEMA,
        "sample_id string!, source string!, data_type string!, problem_type string!, problem string!, "
        "options list<item: string>!, answer string!, process string, media_path string!, media_sha256 string!, "
        "clip_start double, clip_end double, split string!, category string!, licence string!, frame_key string",
    ),
    "rejects": (REJECT_SCHEMA, "sample_id string!, stage string!, reason string!, detail string!"),
    "predictions": (
        JUDGED_SCHEMA,
        "sample_id string, order string, category string, problem_type string, answer string, text string, "
        "prediction string, prediction_video_r1 string, option string, status string, well_formed bool, "
        "official double, video-r1 double, tokens int32, frame_order list<item: int32>, n_frames int32, width int32, "
        "height int32, detail string, "
        "judgement struct<verdict: string, reason: string, decides: bool, by_rules: double>",
    ),
    "clips": (
        CLIPS_SCHEMA,
        "sample_id string, same_media string, near_clip string, flags list<item: string>, brightness double, "
        "motion double, seconds double, keyframes int32",
    ),
    "frames": (
        SCHEMA,
        "key string, pictures list<item: binary>, indices list<item: int32>, pts list<item: double>, "
        "source_fps double, keyframes int32, phash list<item: uint64>, brightness double, motion double, "
        "refused string, detail string",
    ),
    "frame keys": (FRAME_KEYS_SCHEMA, "sample_id string, frame_key string"),
}


@pytest.mark.parametrize(("schema", "columns"), TABLES.values(), ids=TABLES.keys())
def test_the_columns_of_a_table_stay_as_they_are(schema: pa.Schema, columns: str) -> None:
    assert ", ".join(f"{field.name} {field.type}{'' if field.nullable else '!'}" for field in schema) == columns
    assert schema.metadata is None


class Inner(TypedDict):
    word: Literal["a", "b"]


class Plain(BaseModel):
    name: str
    count: int | None
    parts: tuple[float, ...] = ()


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (Literal["a", "b"], pa.string()),
        (NotRequired[bytes | None], pa.binary()),
        (list[Annotated[int, pa.uint8()]], pa.list_(pa.uint8())),
        (list[Inner], pa.list_(pa.struct([("word", pa.string())]))),
    ],
    ids=str,
)
def test_a_field_gets_its_arrow_type(hint: Any, expected: pa.DataType) -> None:
    assert arrow_type(hint) == expected


def test_a_field_without_an_arrow_type_is_refused() -> None:
    with pytest.raises(KeyError, match="complex"):
        arrow_type(complex)


def test_an_exact_schema_forbids_null_where_the_record_does() -> None:
    assert [field.nullable for field in schema_of(Plain, exact=True)] == [False, True, False]
    assert all(field.nullable for field in schema_of(Plain))
