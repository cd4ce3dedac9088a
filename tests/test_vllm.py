"""A real vLLM server reads the prompts and gives the answers of this process.

Set VLLM_BIN to the program `vllm` of an installation of its own, and VIDEO_R1_RUN to a folder in which `dvc repro` has
run for the embedded models. docs/ci.md says how to make both on a CPU.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import pytest
import torch
from pydantic import JsonValue

from stages.annotate import AnnotateParams
from stages.annotate import run as annotate
from stages.asking.engines import Showing, TransformersEngine
from stages.asking.server_engine import ServerParams
from stages.chat.request import ChatSampling, Request
from stages.data.outputs import Output
from stages.data.prompt import question_text
from stages.data.sample import Sample, read_samples, write_rejects, write_samples
from stages.data.shards import ShardStore
from stages.evaluate import Candidate, EvaluateParams, Tables, run
from stages.evaluation.predictions import PredictionRow, read_predictions
from stages.evaluation.prepared import Wanted
from stages.generation.sampling import Sampling
from stages.handshake.placeholders import ban
from stages.handshake.scores import token_logps
from stages.model.family import VideoText
from stages.model.inputs import PromptBuilder
from stages.model.load import ModelSource, load_model
from stages.model.save import save_model
from stages.run.errors import UserError
from stages.run.files import iterate_rows, write_table
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA, FrameReader, Frames
from tests.conftest import finished_run
from tests.evaluation.prepared import asked, evaluate
from tests.model.tiny_models import clip, write_glm46v_flash, write_qwen2_5, write_random
from tests.vllm_server import MEDIA_FLAG, VLLM, served

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.integration,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not VLLM, reason="VLLM_BIN names no vLLM"),
]

PARAMS = EvaluateParams(orders=("ordered", "shuffled", "blind"), max_new_tokens=6, threads=2)
SIZES = {"v0": (48, 48), "v1": (48, 48), "v2": (16, 32), "v3": (32, 16), "i0": (48, 48), "i1": (16, 16)}


def questions() -> list[Sample]:
    """Four clips and two images; the smallest frame is one merged patch."""
    videos = [asked(f"v{index}", "direction", "Which way does it move? " * (1 + index)) for index in range(4)]
    return videos + [asked(f"i{index}", "colour", "What colour is it?", "image") for index in range(2)]


def frames_of(sample: Sample, fps: float) -> Frames:
    height, width = SIZES[sample.sample_id]
    count = 1 if sample.data_type == "image" else 8
    return clip(frames=count, height=height, width=width, fps=fps, seed=list(SIZES).index(sample.sample_id))


def prepare(folder: Path, fps: float = 4.0) -> None:
    """The questions as a benchmark, their clips with so many frames a second."""
    write_samples(folder / "samples.parquet", questions())
    write_rejects(folder / "quarantine.parquet", [])
    rows = [row_from_frames(sample.sample_id, frames_of(sample, fps), None) for sample in questions()]
    ShardStore(folder / "frames", SCHEMA).append(rows)
    keys = [{"sample_id": sample.sample_id, "frame_key": sample.sample_id} for sample in questions()]
    write_table(folder / "frames.parquet", keys, FRAME_KEYS_SCHEMA)


def asking(url: str, model_path: Path | None = None) -> EvaluateParams:
    folder = str(model_path) if model_path else None
    server = ServerParams(base_url=url, model="tiny", model_path=folder, prompt="plain", timeout_s=300)
    return PARAMS.model_copy(update={"engine": "openai", "server": server})


def reply_to(url: str, sample: Sample, reader: FrameReader, more: dict[str, JsonValue]) -> Any:
    """The server's reply to a question about a clip, with the token ids of its prompt."""
    pictures, times = reader.pictures(sample.sample_id), reader.times(sample.sample_id)
    request = Request(
        model="tiny",
        text=question_text(sample, "plain"),
        pictures=tuple(pictures),
        data_type=sample.data_type,
        payload="video",
        sampling=ChatSampling(0.0, 1.0, 1, 0),
        times=tuple(times),
    )
    body = json.dumps(request.body() | {"return_token_ids": True} | more).encode()
    headers = {"Content-Type": "application/json"}
    with urlopen(HttpRequest(f"{url}/chat/completions", body, headers), timeout=300) as reply:
        return json.load(reply)


def readable(rows: Sequence[PredictionRow]) -> list[str]:
    """The texts without broken UTF-8.

    A random model writes it, and vLLM leaves it out at the end.
    """
    return [row["text"].replace("\ufffd", "") for row in rows]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("glm4v", "frames"),
        ("glm46v_flash", "frames"),
        ("qwen2_vl", "frames"),
        ("qwen2_5_vl", "frames"),
        ("qwen3_vl", "frames"),
        ("qwen3_vl", "enclosed"),
        ("qwen3_vl_moe", "frames"),
    ],
)
def test_random_models_get_the_prompts_and_give_the_answers_of_this_process(
    name: str, text: VideoText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six tokens each: a random model has near ties, which rounding decides sooner or later.

    A random model also draws placeholders of media unless a request forbids it, as the model's files here make it do.
    """
    writers = {"qwen2_5_vl": write_qwen2_5, "glm46v_flash": partial(write_glm46v_flash, head_dim=32)}
    monkeypatch.chdir(tmp_path)
    # vLLM 0.32 cuts GLM-4.6V's times to whole seconds, its processor does not: a frame pair a second has equal ones
    prepare(tmp_path, fps=2.0 if name == "glm46v_flash" else 4.0)
    source, model = tmp_path / "source", tmp_path / "model"
    writers.get(name, partial(write_random, name, head_dim=32))(source)  # vLLM on a CPU takes no 16
    save_model(load_model(source), ModelSource(source, "plain", text), model)
    build, reader = PromptBuilder(model), FrameReader(tmp_path / "frames", tmp_path / "frames.parquet")
    here = evaluate(PARAMS, model, tmp_path, "here")
    with served(model, tmp_path / "vllm.log", MEDIA_FLAG) as url:
        for sample in questions():
            expected = build(sample, reader.load(sample.sample_id)).ids_P.tolist()
            assert reply_to(url, sample, reader, {})["prompt_token_ids"] == expected, sample.sample_id
        there = evaluate(asking(url, model), Path("tiny"), tmp_path, "there")
    assert len(here) == len(there) == 16  # four clips in three showings, two images in order and blind
    assert readable(there) == readable(here)


def test_qwen3_5_gets_the_prompts_and_scores_of_this_process_as_bf16_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM on a CPU computes linear attention in bf16 alone, and with heads of 128."""
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    source, model = tmp_path / "source", tmp_path / "model"
    loaded = load_model(write_random("qwen3_5", source, 32, linear_key_head_dim=128, linear_value_head_dim=128))
    save_model(loaded, ModelSource(source, "plain", "frames"), model)
    build, reader = PromptBuilder(model), FrameReader(tmp_path / "frames", tmp_path / "frames.parquet")
    more: dict[str, JsonValue] = {"max_tokens": 6, "logprobs": True, **ban(build)}
    with served(model, tmp_path / "vllm.log", MEDIA_FLAG, "--dtype", "bfloat16") as url:
        for sample in questions():
            prompt, reply = build(sample, reader.load(sample.sample_id)), reply_to(url, sample, reader, more)
            assert reply["prompt_token_ids"] == prompt.ids_P.tolist(), sample.sample_id
            [choice] = reply["choices"]
            theirs_C = torch.tensor([each["logprob"] for each in choice["logprobs"]["content"]])
            ours_C = token_logps(loaded, build, prompt, torch.tensor(choice["token_ids"]))
            # measured: 0.10 at most; bf16 and fp32 in this process are up to 0.21 apart
            torch.testing.assert_close(theirs_C, ours_C, rtol=0, atol=0.25)


@pytest.mark.parametrize("name", ["sft", "tgrpo"])
def test_the_trained_embedded_models_answer_and_teach_through_the_server_as_in_this_process(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All questions of the benchmark, in order, shuffled and blind, and 40 of the SFT set as a teacher."""
    done = finished_run()
    here = read_predictions(done / "predictions" / f"{name}-shapes-8.parquet")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes-8").symlink_to(done / "data" / "benchmarks" / "shapes-8")
    with served(done / "models" / name, tmp_path / "vllm.log", MEDIA_FLAG) as url:
        params = asking(url).model_copy(update={"max_new_tokens": 72})
        tables = Tables(tmp_path / "there.parquet", tmp_path / "there.json")
        run(params, Candidate("tiny", "there"), Wanted("shapes", tmp_path / "shapes-8"), tables)
        taught = teach(url, done)
    there = read_predictions(tmp_path / "there.parquet")
    assert len(here) > 400
    assert [(row["sample_id"], row["order"], row["text"]) for row in there] == [
        (row["sample_id"], row["order"], row["text"]) for row in here
    ]
    assert taught == answers(done / "models" / name, done)


def sft_samples(done: Path) -> list[Sample]:
    """40 questions, a quarter of them about images."""
    samples = [sample for sample in read_samples(done / "data" / "samples.parquet") if sample.split == "sft"]
    videos, images = ([one for one in samples if one.data_type == kind] for kind in ("video", "image"))
    return videos[:30] + images[:10]


def teach(url: str, done: Path) -> dict[str, str]:
    """The answers of the served teacher by sample."""
    write_samples(Path("sft.parquet"), sft_samples(done))
    params = AnnotateParams(
        base_url=url, model="tiny", prompt="plain", temperature=0.0, top_p=1.0, max_tokens=72, timeout_s=300
    )
    store = (done / "data" / "frames", done / "data" / "frames.parquet")
    annotate(params, Path("sft.parquet"), *store, Path("responses"), Path("annotations.parquet"), Path("teach.json"))
    return {row["sample_id"]: row["text"] for row in iterate_rows(Path("annotations.parquet"))}


def answers(model: Path, done: Path) -> dict[str, str]:
    """The answers of the same model in this process."""
    reader = FrameReader(done / "data" / "frames", done / "data" / "frames.parquet")
    engine = TransformersEngine(model, reader, Sampling(72, temperature=0.0), 0, 8192, "fp32")
    outputs: list[Output] = []
    engine.answer([Showing(sample, "ordered") for sample in sft_samples(done)], (), outputs.extend)
    return {output["sample_id"]: output["text"] for output in outputs}


def test_a_server_without_the_flag_stops_the_run_with_the_flag_it_needs(
    qwen2_5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    with served(qwen2_5, tmp_path / "vllm.log") as url, pytest.raises(UserError, match=MEDIA_FLAG):
        evaluate(asking(url), Path("tiny"), tmp_path)
