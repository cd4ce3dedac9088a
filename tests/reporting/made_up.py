"""A made-up project: shapes drawn for real, answers and curves made up."""

from pathlib import Path

import numpy as np

from stages.data.annotations import ANNOTATION_SCHEMA, AnnotationRow
from stages.data.conditions import with_conditions
from stages.data.order import Order, permutation
from stages.data.outputs import Output
from stages.data.rollouts import ROLLOUT_SCHEMA, RolloutRow
from stages.data.sample import Reject, Sample, write_rejects, write_samples
from stages.data.shards import ShardStore
from stages.embedded.world.questions import FAMILIES, Question, make
from stages.embedded.world.scene import draw
from stages.evaluation.benchmarks import get_benchmark
from stages.evaluation.benchmarks.shapes import TEMPORAL_FAMILIES
from stages.evaluation.predictions import PREDICTION_SCHEMA, prediction_row
from stages.report import ReportParams, run
from stages.run.files import write_atomic, write_table
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA, Frames

PREDICTIONS = with_conditions(PREDICTION_SCHEMA, {"by": "this process"})
PARAMS = ReportParams(frames=(8,), examples=4)
EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>'
ACCURACY = {  # model: the chance of a right answer to a temporal question in order, shuffled, and to a static question
    "base": (0.05, 0.05, 0.05),
    "sft": (0.6, 0.35, 0.95),
    "tgrpo": (0.85, 0.4, 0.96),
}


def make_project(place: Path) -> None:
    """Write every input of the report into a folder."""
    make_training(place)
    _write_benchmark(place, np.random.default_rng(2))


def make_training(place: Path) -> None:
    """Write every input of the report but benchmarks and predictions."""
    _write_data(place, np.random.default_rng(0))
    _write_plots(place, np.random.default_rng(1))
    (place / "params.yaml").write_text(f"tgrpo:\n  alpha: 0.3\n  rl_folder: {place}/data\n")


def write_report(place: Path, out: Path, params: ReportParams = PARAMS) -> str:
    """Run the stage on such a folder; the page."""
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
        sft_plot=place / "plots/sft.csv",
        tgrpo_plot=place / "plots/tgrpo.csv",
        rollouts=place / "data/rollouts.parquet",
        benchmarks=place / "data/benchmarks",
        predictions=place / "predictions",
        out=out,
    )
    return out.read_text(encoding="utf-8")


def _write_data(place: Path, rng: np.random.Generator) -> None:
    """60 samples; two have no frames, and the filter dropped four thoughts."""
    data = place / "data"
    names = list(TEMPORAL_FAMILIES) * 20
    questions = [make(names[index], rng) for index in range(60)]
    samples = [
        _sample(f"s{index:02d}", question, "sft" if index < 40 else "rl") for index, question in enumerate(questions)
    ]
    samples[0] = samples[0].model_copy(update={"problem": f"Which way? {EVIL}"})
    write_samples(data / "samples.parquet", samples)
    gone = [
        Reject(sample_id=f"q{number}", stage="ingest", reason="missing media", detail="q.mp4") for number in range(3)
    ]
    write_rejects(data / "quarantine.parquet", gone)
    corrupt = [Reject(sample_id=f"s{index}", stage="frames", reason="corrupt") for index in (58, 59)]
    write_rejects(data / "frames-rejects.parquet", corrupt)
    sample_ids = [sample.sample_id for sample in samples[:58]]
    _write_frames(data / "frames", data / "frames.parquet", dict(zip(sample_ids, questions, strict=False)))
    answers = [_annotation(sample, EVIL if index < 4 else sample.answer) for index, sample in enumerate(samples[:40])]
    write_table(data / "annotations.parquet", answers, ANNOTATION_SCHEMA)
    wrong = [
        Reject(sample_id=f"s{index:02d}", stage="filter sft", reason="correctness", detail="reward 0.00 ≤ 0.6")
        for index in range(4)
    ]
    write_rejects(data / "rejects.parquet", wrong)
    kept = [sample.model_copy(update={"process": "<think>t</think>"}) for sample in samples[4:40]]
    write_samples(data / "sft.parquet", kept)
    write_samples(data / "rl.parquet", samples[40:58])
    _write_rollouts(place / "data" / "rollouts.parquet", samples[40:50], rng)


def _annotation(sample: Sample, answer: str) -> AnnotationRow:
    return {
        "sample_id": sample.sample_id,
        "request_key": sample.sample_id,
        "status": "ok",
        "detail": "",
        "text": said("it is on olive, so it moves left", answer),
        "prompt_tokens": 100,
        "completion_tokens": 30,
    }


def _write_rollouts(path: Path, samples: list[Sample], rng: np.random.Generator) -> None:
    """Groups of 8 responses in order and 4 shuffled."""
    rows = []
    for number, sample in enumerate(samples):
        for order, count in (("ordered", 8), ("shuffle", 4)):
            for right in rng.random(count) < (0.6 if order == "ordered" else 0.3):
                rows.append(
                    rollout(sample.sample_id, 1 + number * 10, order, sample.answer if right else "no idea", right)
                )
    write_table(path, rows, ROLLOUT_SCHEMA)


def rollout(sample_id: str, step: int, order: str, answer: str, right: bool) -> RolloutRow:
    """A response of T-GRPO; only a response in order has a reward."""
    ordered = order == "ordered"
    return {
        "sample_id": sample_id,
        "step": step,
        "order": order,
        "text": said("frame 1 top left, frame 3 center, so it moves right", answer),
        "answer": answer,
        "accuracy": float(right),
        "format": 1.0 if ordered else None,
        "temporal": 0.3 * right if ordered else None,
        "length": 0.0 if ordered else None,
        "advantage": (0.8 if right else -1.1) if ordered else None,
        "gain": None,
    }


def _write_plots(place: Path, rng: np.random.Generator) -> None:
    steps = np.arange(1, 121)
    rise = 1 - np.exp(-steps / 40)
    noise = rng.normal(0, 0.05, (8, 120))
    _write_csv(place / "plots" / "sft.csv", {"step": steps, "loss": 2.5 * np.exp(-steps / 30) + 0.17 + 0.3 * noise[0]})
    columns = {
        "step": steps,
        "reward": 1.2 + 0.6 * rise + noise[1],
        "p": 0.45 + 0.35 * rise + noise[2],
        "p_contrast": 0.3 + 0.1 * rise + noise[3],
        "completion_tokens": 28 + 12 * rise + 20 * noise[4],
        "kl": 0.08 * rise + noise[5] / 20,
        "condition_rate": np.clip(0.7 + 0.2 * rise + noise[6], 0, 1),
        "zero_variance": 0.3 + noise[7],
    }
    _write_csv(place / "plots" / "tgrpo.csv", columns)


def _write_benchmark(place: Path, rng: np.random.Generator) -> None:
    """30 questions of every family, answered by three models of known accuracy."""
    questions = [make(name, rng) for name in FAMILIES for _ in range(30)]
    samples = [_sample(f"b{index:03d}", question, "test") for index, question in enumerate(questions)]
    folder = place / "data" / "benchmarks" / "shapes-8"
    write_samples(folder / "samples.parquet", samples)
    write_rejects(folder / "quarantine.parquet", [Reject(sample_id="b999", stage="benchmark", reason="missing media")])
    sample_ids = [sample.sample_id for sample in samples]
    _write_frames(folder / "frames", folder / "frames.parquet", dict(zip(sample_ids, questions, strict=True)))
    benchmark = get_benchmark("shapes")
    for model, (temporal, shuffled, static) in ACCURACY.items():
        rows = []
        for sample in samples:
            chances = (temporal, shuffled) if sample.category in TEMPORAL_FAMILIES else (static, static - 0.1)
            luck = rng.random()
            orders: tuple[Order, ...] = ("ordered", "shuffled") if sample.data_type == "video" else ("ordered",)
            for order, chance in zip((*orders, "blind"), (*chances[: len(orders)], 0.25), strict=True):
                rows.append(prediction_row(sample, _output(sample, order, luck < chance), benchmark))
        write_table(place / "predictions" / f"{model}-shapes-8.parquet", rows, PREDICTIONS)


def _output(sample: Sample, order: Order, right: bool) -> Output:
    stored = 1 if sample.data_type == "image" else 8
    frame_order = permutation(stored, order, sample.sample_id, 0).tolist()
    return {
        "key": f"{order}/{sample.sample_id}",
        "sample_id": sample.sample_id,
        "order": order,
        "text": said("frame 1 top left, frame 3 top right, so it moves right", sample.answer if right else EVIL),
        "status": "ok",
        "tokens": 30,
        "frame_order": frame_order,
        "n_frames": len(frame_order),
        "width": 64 if frame_order else 0,
        "height": 64 if frame_order else 0,
        "detail": "",
    }


def _write_frames(folder: Path, table: Path, questions: dict[str, Question]) -> None:
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


def said(thought: str, answer: str) -> str:
    """An output in the format of the prompt."""
    return f"<think>{thought}.</think>\n<answer>{answer}</answer>"


def _write_csv(path: Path, columns: dict[str, np.ndarray]) -> None:
    rows = [list(columns), *zip(*(values.tolist() for values in columns.values()), strict=True)]
    write_atomic(path, "".join(",".join(map(str, row)) + "\n" for row in rows))
