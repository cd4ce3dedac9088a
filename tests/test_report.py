"""The report, from tables as the stages write them: shapes drawn for real, answers and curves made up."""

import csv
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from stages.data.sample import Reject, Sample, write_rejects, write_samples
from stages.data.shards import ShardStore
from stages.embedded.families import TEMPORAL_FAMILIES
from stages.embedded.questions import FAMILIES, Question, make
from stages.embedded.scene import draw
from stages.evaluation.benchmarks import get_benchmark
from stages.evaluation.predictions import PREDICTION_SCHEMA, Output, prediction_row, read_predictions
from stages.report import ReportParams, run
from stages.run.errors import UserError
from stages.run.files import write_atomic, write_table
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA, Frames
from stages.video.order import Order, permutation

PARAMS = ReportParams(frames=(8,), examples=4)
EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'
ACCURACY = {
    "base": (0.05, 0.05, 0.05),
    "sft": (0.6, 0.35, 0.95),
    "tgrpo": (0.85, 0.4, 0.96),
}  # temporal, temporal shuffled, static


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every input of the report."""
    place = tmp_path_factory.mktemp("project")
    _data(place, np.random.default_rng(0))
    _plots(place, np.random.default_rng(1))
    _benchmark(place, np.random.default_rng(2))
    (place / "params.yaml").write_text("tgrpo:\n  alpha: 0.3\n")
    return place


@pytest.fixture(scope="module")
def page(project: Path) -> str:
    _report(project, project / "report" / "index.html")
    return (project / "report" / "index.html").read_text(encoding="utf-8")


def test_the_page_stands_alone(page: str) -> None:
    outside = [value for value in _attributes(page, "src", "href") if not value.startswith(("data:image/", "#"))]
    assert outside == []
    assert len(_attributes(page, "src")) > 50
    assert "url(" not in page


def test_untrusted_text_is_escaped_everywhere(page: str) -> None:
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 3  # a question, a teacher's thought, a model's answer


def test_every_tag_is_closed(page: str) -> None:
    checker = _Balance()
    checker.feed(page)
    assert checker.open == []
    assert checker.faults == []


def test_the_same_inputs_give_the_same_page_wherever_and_whenever(project: Path, page: str) -> None:
    _report(project, project / "again.html")
    assert (project / "again.html").read_text(encoding="utf-8") == page


def test_the_funnel_and_its_reasons_are_counted(page: str) -> None:
    text = _text(page)
    assert "records read 63" in text
    assert "valid, with readable media 60" in text
    assert "frames extracted 58" in text
    assert re.search(r"filter sft\s+correctness\s+4", text)
    assert re.search(r"shapes\s+–\s+multiple choice\s+video\s+\d+", text)
    assert re.search(r"ingest\s+missing media\s+3", text)
    assert (
        "rule by rule dropped by all shapes OCR free-form multiple choice numerical regression correctness 4 4 1 0 2 1 0 kept 36 36"
        in text
    )


def test_accuracy_gap_and_interval_stand_in_the_lede(page: str) -> None:
    text = _text(page)
    assert re.search(
        r"On 210 questions that need the order of frames, T-GRPO scores 8\d\.\d % \(\d+\.\d to \d+\.\d\), against", text
    )
    assert "more than chance would give, a gain." in text
    assert "rests on what happens when" in text
    assert "do not show that" not in text
    assert "shapes: 390 questions, 1 more without usable media" in text
    assert "SFT: 0.0 % without an answer, 0.0 % cut off; T-GRPO: 0.0 % without" in text


def test_each_curve_of_the_files_is_drawn(page: str) -> None:
    titles = [
        "Loss per token",
        "Reward",
        "Share of correct responses",
        "KL to the SFT model",
        "Questions that meet the temporal condition",
    ]
    assert all(f'aria-label="{title}"' in page for title in titles)
    assert 'aria-label="Entropy"' not in page  # the file has no such column


def test_the_gallery_shows_frames_rollouts_refusals_and_mistakes(page: str) -> None:
    text = _text(page)
    assert re.search(r"Step 1\. In order: \d of 8 right\. Shuffled: \d of 4 right\.", text)
    assert "temporal 0.30" in text
    assert "filter sft: correctness, 4 dropped" in text
    assert text.count("reward 0.00 ≤ 0.6") == 4  # each of the four that were dropped
    assert text.index("Thoughts the filter kept") < text.index("What the filter dropped")
    assert "Right in order, wrong when shuffled: T-GRPO" in text
    assert "9 more responses of this group" in text


def test_what_was_wrong_when_shuffled_is_shown_of_questions_that_need_the_order_of_frames(page: str) -> None:
    section = page[
        page.index("Right in order, wrong when shuffled") : page.index(
            "</section>", page.index("Right in order, wrong when")
        )
    ]
    kinds = re.findall(r'<p class="note">([\w-]+)</p>', section)
    assert len(kinds) == section.count("<article>") == 2
    assert set(kinds) <= set(TEMPORAL_FAMILIES)


def test_wrong_answers_are_listed_by_kind_of_question(page: str) -> None:
    shown = [
        (kind, int(wrong), int(asked))
        for kind, wrong, asked in re.findall(r"<b>([\w-]+)</b>: (\d+) of (\d+) wrong", page)
    ]
    assert shown == sorted(shown)
    assert {asked for _, _, asked in shown} == {30}
    section = page[page.index('<section id="wrong">') : page.index('<section id="run">')]
    assert section.count("<article>") == sum(min(wrong, PARAMS.mistakes) for _, wrong, _ in shown)


def test_scores_and_gaps_are_drawn_by_kind_and_models_compared_in_pairs(page: str) -> None:
    assert 'aria-label="Score by kind of question, shapes"' in page
    assert 'aria-label="What other orders take away, shapes"' in page
    text = _text(page)
    assert re.search(r"T-GRPO − SFT Questions that need the order of frames 210 \+\d", text)
    assert re.search(
        r"SFT − base model All questions 390 \+\d+\.\d \+\d+\.\d to \+\d+\.\d p < 0\.001", text.replace("&lt;", "<")
    )


def test_the_papers_rows_are_shown_only_beside_a_benchmark_of_the_paper(
    project: Path, page: str, tmp_path: Path
) -> None:
    assert "Against the paper" not in page
    shutil.copytree(project, tmp_path / "with")
    place = tmp_path / "with"
    (place / "data/benchmarks/shapes-8").rename(place / "data/benchmarks/mvbench-8")
    for model in PARAMS.models:
        (place / f"predictions/{model}-shapes-8.parquet").rename(place / f"predictions/{model}-mvbench-8.parquet")
    _report(place, place / "index.html", PARAMS.model_copy(update={"benchmarks": ("mvbench",)}))
    text = _text((place / "index.html").read_text(encoding="utf-8"))
    assert re.search(r"Video-R1-7B published 16 62\.7", text)
    assert re.search(r"T-GRPO measured ≤ 8 \d\d\.\d \d\d\.\d to \d\d\.\d, n = 390 1–8 frames of 64×64 1 missing", text)


def test_several_benchmarks_begin_with_one_table_also_where_a_model_has_no_answer_and_no_order_but_one(
    project: Path, tmp_path: Path
) -> None:
    shutil.copytree(project, tmp_path / "two")
    place = tmp_path / "two"
    shutil.copytree(place / "data/benchmarks/shapes-8", place / "data/benchmarks/mvbench-8")
    for model in PARAMS.models:
        rows = [
            row
            for row in read_predictions(place / f"predictions/{model}-shapes-8.parquet")
            if row["order"] == "ordered"
        ]
        rows = (
            [row | {"status": "error", "official": None, "video-r1": None} for row in rows] if model == "base" else rows
        )
        write_table(place / f"predictions/{model}-mvbench-8.parquet", rows, PREDICTION_SCHEMA)
    _report(place, place / "index.html", PARAMS.model_copy(update={"benchmarks": ("shapes", "mvbench")}))
    text = _text((place / "index.html").read_text(encoding="utf-8"))
    score = r"\d+\.\d \d+\.\d to \d+\.\d"
    assert re.search(
        rf"gap to shuffled shapes 390( {score}){{3}} \+\d+\.\d \+\d+\.\d to \+\d+\.\d mvbench 390 –( {score}){{2}} – shapes in words",
        text,
    )
    assert (
        "base model: 0.0 % without an answer, 0.0 % cut off, 390 requests failed, which count in no score; SFT" in text
    )


def test_without_predictions_the_error_names_the_files(project: Path) -> None:
    with pytest.raises(UserError, match=r"no predictions at .*other-shapes-8\.parquet; run evaluate"):
        _report(project, project / "none.html", ReportParams(models=("base", "other"), frames=(8,)))


def _report(place: Path, out: Path, params: ReportParams = PARAMS) -> None:
    run(
        params,
        settings=place / "params.yaml",
        samples=place / "data/samples.parquet",
        quarantine=place / "data/quarantine.parquet",
        frame_store=place / "data/frames",
        frame_keys=place / "data/frames.parquet",
        frames_rejects=place / "data/frames-rejects.parquet",
        annotations=place / "data/annotations.parquet",
        sft=place / "data/sft.parquet",
        rl=place / "data/rl.parquet",
        rejects=place / "data/rejects.parquet",
        sft_plot=place / "plots/sft.csv",
        tgrpo_plot=place / "plots/tgrpo.csv",
        rollouts=place / "data/rollouts.parquet",
        benchmarks=place / "data/benchmarks",
        predictions=place / "predictions",
        out=out,
    )


def _data(place: Path, rng: np.random.Generator) -> None:
    """60 samples for SFT and RL, of which two have no frames and four thoughts are refused."""
    data = place / "data"
    names = list(TEMPORAL_FAMILIES) * 20
    questions = [make(names[index], rng) for index in range(60)]
    samples = [
        _sample(f"s{index:02d}", question, "sft" if index < 40 else "rl") for index, question in enumerate(questions)
    ]
    samples[0] = samples[0].model_copy(update={"problem": f"Which way? {EVIL}"})
    write_samples(data / "samples.parquet", samples)
    gone = [
        Reject(sample_id=f"q{index}", stage="ingest", reason="missing media", detail="video/q.mp4")
        for index in range(3)
    ]
    write_rejects(data / "quarantine.parquet", gone)
    write_rejects(
        data / "frames-rejects.parquet",
        [Reject(sample_id=f"s{index}", stage="frames", reason="corrupt") for index in (58, 59)],
    )
    _store(
        data / "frames",
        data / "frames.parquet",
        dict(zip([sample.sample_id for sample in samples[:58]], questions, strict=False)),
    )
    answers = [
        {
            "sample_id": sample.sample_id,
            "status": "ok",
            "text": _said("it is on olive, so it moves left", EVIL if index < 4 else sample.answer),
        }
        for index, sample in enumerate(samples[:40])
    ]
    write_table(
        data / "annotations.parquet",
        answers,
        pa.schema([(name, pa.string()) for name in ("sample_id", "status", "text")]),
    )
    wrong = [
        Reject(sample_id=f"s{index:02d}", stage="filter sft", reason="correctness", detail="reward 0.00 ≤ 0.6")
        for index in range(4)
    ]
    write_rejects(data / "rejects.parquet", wrong)
    write_samples(
        data / "sft.parquet", [sample.model_copy(update={"process": "<think>t</think>"}) for sample in samples[4:40]]
    )
    write_samples(data / "rl.parquet", samples[40:58])
    _rollouts(place, samples[40:50], rng)


def _rollouts(place: Path, samples: list[Sample], rng: np.random.Generator) -> None:
    rows: list[dict[str, Any]] = []
    for number, sample in enumerate(samples):
        for order, count in (("ordered", 8), ("shuffled", 4)):
            for right in rng.random(count) < (0.6 if order == "ordered" else 0.3):
                row = {"sample_id": sample.sample_id, "step": 1 + number * 10, "order": order, "accuracy": float(right)}
                row |= {
                    "text": _said(
                        "frame 1 top left, frame 3 center, so it moves right", sample.answer if right else "no idea"
                    )
                }
                parts = {"format": 1.0, "temporal": 0.3 * right, "length": 0.0, "advantage": 0.8 if right else -1.1}
                rows.append(row | (parts if order == "ordered" else dict.fromkeys(parts)))
    numbers = [(name, pa.float64()) for name in ("accuracy", "format", "temporal", "length", "advantage")]
    schema = pa.schema(
        [("sample_id", pa.string()), ("step", pa.int32()), ("order", pa.string()), ("text", pa.string()), *numbers]
    )
    write_table(place / "data" / "rollouts.parquet", rows, schema)


def _plots(place: Path, rng: np.random.Generator) -> None:
    steps = np.arange(1, 121)
    rise = 1 - np.exp(-steps / 40)
    noise = rng.normal(0, 0.05, (8, 120))
    _csv(place / "plots" / "sft.csv", {"step": steps, "loss": 2.5 * np.exp(-steps / 30) + 0.17 + 0.3 * noise[0]})
    columns = {"step": steps, "reward": 1.2 + 0.6 * rise + noise[1], "p": 0.45 + 0.35 * rise + noise[2]}
    columns |= {
        "p_contrast": 0.3 + 0.1 * rise + noise[3],
        "completion_tokens": 28 + 12 * rise + 20 * noise[4],
        "kl": 0.08 * rise + noise[5] / 20,
    }
    columns |= {"condition_rate": np.clip(0.7 + 0.2 * rise + noise[6], 0, 1), "zero_variance": 0.3 + noise[7]}
    _csv(place / "plots" / "tgrpo.csv", columns)


def _benchmark(place: Path, rng: np.random.Generator) -> None:
    """30 questions of every family, answered by three models of known accuracy."""
    questions = [make(name, rng) for name in FAMILIES for _ in range(30)]
    samples = [_sample(f"b{index:03d}", question, "test") for index, question in enumerate(questions)]
    folder = place / "data" / "benchmarks" / "shapes-8"
    write_samples(folder / "samples.parquet", samples)
    write_rejects(folder / "quarantine.parquet", [Reject(sample_id="b999", stage="benchmark", reason="missing media")])
    _store(
        folder / "frames",
        folder / "frames.parquet",
        dict(zip([sample.sample_id for sample in samples], questions, strict=True)),
    )
    rules = get_benchmark("shapes")
    for model, (temporal, shuffled, static) in ACCURACY.items():
        rows = []
        for sample in samples:
            is_temporal = sample.category in TEMPORAL_FAMILIES
            luck = rng.random()
            for order in ("ordered", "shuffled") if sample.data_type == "video" else ("ordered",):
                right = (
                    luck < ((static, static - 0.1) if not is_temporal else (temporal, shuffled))[order == "shuffled"]
                )
                rows.append(prediction_row(sample, _output(sample, order, right), rules))
        write_table(place / "predictions" / f"{model}-shapes-8.parquet", rows, PREDICTION_SCHEMA)


def _output(sample: Sample, order: Order, right: bool) -> Output:
    n_frames = 1 if sample.data_type == "image" else 8
    return {
        "key": f"{order}/{sample.sample_id}",
        "sample_id": sample.sample_id,
        "order": order,
        "text": _said("frame 1 top left, frame 3 top right, so it moves right", sample.answer if right else EVIL),
        "status": "ok",
        "tokens": 30,
        "frame_order": permutation(n_frames, order, sample.sample_id, 0).tolist(),
        "n_frames": n_frames,
        "width": 64,
        "height": 64,
        "detail": "",
    }


def _store(folder: Path, table: Path, questions: dict[str, Question]) -> None:
    rows = []
    for sample_id, question in questions.items():
        pixels = draw(question.scene)[::2] if question.data_type == "video" else draw(question.scene)[:1]
        times = np.arange(len(pixels))
        rows.append(row_from_frames(sample_id, Frames(pixels, times, times / 2, 2.0), 95))
    ShardStore(folder, SCHEMA).append(rows)
    write_table(table, [{"sample_id": sample_id, "frame_key": sample_id} for sample_id in questions], FRAME_KEYS_SCHEMA)


def _sample(sample_id: str, question: Question, split: str) -> Sample:
    fields = {name: getattr(question, name) for name in ("data_type", "problem_type", "problem", "options", "answer")}
    fields |= {"sample_id": sample_id, "source": "shapes", "media_path": "m", "media_sha256": "0"}
    return Sample.model_validate(fields | {"split": split, "category": question.family})


def _said(thought: str, answer: str) -> str:
    return f"<think>{thought}.</think>\n<answer>{answer}</answer>"


def _csv(path: Path, columns: dict[str, np.ndarray]) -> None:
    rows = [list(columns), *zip(*(values.tolist() for values in columns.values()), strict=True)]
    write_atomic(path, "".join(",".join(map(str, row)) + "\n" for row in rows))
    assert len(list(csv.DictReader(path.read_text().splitlines()))) == 120


def _attributes(page: str, *names: str) -> list[str]:
    return re.findall(rf'\b(?:{"|".join(names)})="([^"]*)"', re.sub(r"&lt;.*?&gt;", "", page))


def _text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)))


class _Balance(HTMLParser):
    """Checks that tags are closed in the order they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)
