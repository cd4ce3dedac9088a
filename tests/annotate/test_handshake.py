"""A teacher that is a local checkpoint proves itself before it is asked."""

from pathlib import Path

import pytest

from stages.chat.annotation_parameters import AnnotateParams
from stages.data.sample import read_samples
from stages.data.shards import ShardStore
from stages.run.errors import UserError
from stages.run.files import write_table
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA
from tests.annotate.case import annotate, parameters, write_inputs
from tests.model.tiny_models import clip
from tests.model_server import ModelServer, every_second, model_server

QUESTIONS, HANDSHAKE = 10, 8


@pytest.fixture
def place() -> None:
    """Ten questions in the current folder, with clips of 48x48."""
    write_inputs(QUESTIONS)
    names = [sample.sample_id for sample in read_samples(Path("samples.parquet")) if sample.sample_id != "no-frames"]
    shown = [row_from_frames(f"c{seed}", clip(8, 48, 48, seed=seed), 95) for seed in range(len(names))]
    ShardStore(Path("clips"), SCHEMA).append(shown)
    keys = [{"sample_id": name, "frame_key": f"c{seed}"} for seed, name in enumerate(names)]
    write_table(Path("frames.parquet"), keys, FRAME_KEYS_SCHEMA)
    Path("frames").rename("grey")
    Path("clips").rename("frames")


def teacher(server: ModelServer, **changes: object) -> AnnotateParams:
    return parameters(
        server.url, model="tiny", model_path=str(server.folder), payload="video", timeout_s=30.0, **changes
    )


def test_a_teacher_that_reads_the_same_is_asked_every_question_once_more(qwen2_5: Path, place: None) -> None:
    with model_server(ModelServer(qwen2_5)) as server:
        rows = annotate(teacher(server))
        assert [row["status"] for row in rows] == ["ok"] * QUESTIONS
        probes, questions = server.bodies[:HANDSHAKE], server.bodies[HANDSHAKE:]
        assert all(body["logprobs"] and body["temperature"] == 0 and body["max_tokens"] == 32 for body in probes)
        assert not any("logprobs" in body for body in questions)
        assert len(questions) == QUESTIONS
        assert annotate(teacher(server)) == rows
        assert len(server.bodies) == HANDSHAKE + QUESTIONS


def test_a_teacher_that_reads_otherwise_is_paid_for_the_handshake_alone(qwen2_5: Path, place: None) -> None:
    with model_server(ModelServer(qwen2_5, every_second)) as server:
        with pytest.raises(UserError, match="the number of frames"):
            annotate(teacher(server))
        assert len(server.bodies) == HANDSHAKE + 1
    with model_server(ModelServer(qwen2_5)) as server:
        assert len(annotate(teacher(server))) == QUESTIONS
        assert len(server.bodies) == HANDSHAKE + QUESTIONS  # no wrong answer was kept


def test_a_limit_counts_the_handshake_too(qwen2_5: Path, place: None) -> None:
    with model_server(ModelServer(qwen2_5)) as server:
        with pytest.raises(UserError, match="the next request could exceed"):
            annotate(teacher(server, max_tokens_total=1200))
        spent = [server.complete(body)["usage"] for body in list(server.bodies)]
    assert 0 < sum(usage["prompt_tokens"] + usage["completion_tokens"] for usage in spent) <= 1200
