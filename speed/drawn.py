"""Benchmarks and answers drawn at random, in the form of real ones.

They measure how the metrics and the report do with many of them. The numbers of questions, categories and answer types
follow the official benchmarks; the answers mean nothing.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from stages.data.order import Order, permutation
from stages.data.outputs import Output
from stages.data.sample import ProblemType, Sample
from stages.evaluation.benchmarks import get_benchmark
from stages.evaluation.predictions import PredictionRow, prediction_row

CATEGORIES: Mapping[str, Sequence[str]] = {  # beside those that a benchmark's definition names
    "charades_sta": [""],
    "longvideobench": [f"{kind}/{group}" for kind in ("S2E", "S2O", "O2E", "T2A") for group in (15, 60, 600, 3600)],
    "mmvu": ["Chemistry", "Clinical_Medicine", "Mechanics", "Art", "Economics", "Biology", "Physics", "History"],
    "mvbench": [],
    "shapes": ["colour", "count", "shape", "size", "word"],
    "tempcompass": [
        f"{task}/{dimension}"
        for task in ("multi-choice", "yes_no", "caption_matching")
        for dimension in ("action", "attribute_change", "direction", "order", "speed")
    ],
    "tvbench": [],
    "videomme": ["short", "medium", "long"],
    "vinoground": [],
    "vsi_bench": [],
}
LETTERS = "ABCD"
OPTIONS = ("A. the red ball", "B. the cup", "C. the left door", "D. the man")
THOUGHT = "<think>Frame 1 shows it, frame 5 shows it again, so it is this one.</think>"
N_FRAMES = 8


def draw_samples(name: str, count: int, rng: np.random.Generator) -> list[Sample]:
    """`count` questions of a benchmark, its categories in turn."""
    benchmark = get_benchmark(name)
    kinds = sorted({*benchmark.categories, *benchmark.temporal, *CATEGORIES[name]})
    return [_sample(name, number, kinds[number % len(kinds)], rng) for number in range(count)]


def draw_predictions(
    name: str, samples: Sequence[Sample], chances: Mapping[Order, float], rng: np.random.Generator
) -> Iterator[PredictionRow]:
    """A model's rows, with `chances` of a right answer by order.

    A tenth of a question's luck is drawn for each answer, the rest for the question.
    """
    benchmark = get_benchmark(name)
    for sample, luck in zip(samples, np.random.default_rng(len(samples)).random(len(samples)), strict=True):
        for order, chance in chances.items():
            right = 0.9 * luck + 0.1 * rng.random() < chance
            yield prediction_row(sample, _output(sample, order, bool(right), rng), benchmark)


def _sample(name: str, number: int, category: str, rng: np.random.Generator) -> Sample:
    kind, options, answer = _answer(name, category, number, rng)
    return Sample(
        sample_id=_sample_id(name, number),
        source=name,
        data_type="video",
        problem_type=kind,
        problem=f"Question {number} of {name}: what happens {('first', 'next', 'last')[number % 3]} in the clip?",
        options=options,
        answer=answer,
        media_path=f"{name}/{number}.mp4",
        media_sha256="0",
        split="test",
        category=category,
    )


def _sample_id(name: str, number: int) -> str:
    if name == "vinoground":  # four questions belong together
        return f"vinoground-{number // 4}_{('pos', 'neg')[number // 2 % 2]}-{('text', 'video')[number % 2]}"
    return f"{name}-{number}"


def _answer(
    name: str, category: str, number: int, rng: np.random.Generator
) -> tuple[ProblemType, tuple[str, ...], str]:
    """Answer type, options and right answer."""
    if name == "charades_sta":
        start = round(float(rng.uniform(0, 20)), 1)
        return "free-form", (), f"{start} - {start + 8}"
    if name == "vsi_bench" and category.endswith(("counting", "distance", "estimation")):
        return "regression", (), str(int(rng.integers(2, 20)))
    if name == "mmvu" and number % 3 == 0:
        return "free-form", (), f"about {int(rng.integers(2, 20))} of them"
    if category.startswith(("yes_no", "caption_matching")):
        return "free-form", (), ("yes", "no")[number % 2]
    return "multiple choice", OPTIONS, LETTERS[int(rng.integers(4))]


def _output(sample: Sample, order: Order, right: bool, rng: np.random.Generator) -> Output:
    frame_order = permutation(N_FRAMES, order, sample.sample_id, 0).tolist()
    ended = rng.random()
    said = f"{THOUGHT}\n<answer>{_said(sample, right, rng)}</answer>"
    return {
        "key": f"{order}/{sample.sample_id}",
        "sample_id": sample.sample_id,
        "order": order,
        "text": said if ended > 0.03 else "Frame 1 shows it, and then",
        "status": "truncated" if ended < 0.02 else "ok",
        "tokens": int(rng.integers(20, 200)),
        "frame_order": frame_order,
        "n_frames": len(frame_order),
        "width": 64 if frame_order else 0,
        "height": 64 if frame_order else 0,
        "detail": "",
    }


def _said(sample: Sample, right: bool, rng: np.random.Generator) -> str:
    if right:
        return sample.answer
    if sample.options:
        return LETTERS[(LETTERS.index(sample.answer) + int(rng.integers(1, 4))) % 4]
    if sample.problem_type == "regression":
        return str(int(sample.answer) + int(rng.integers(1, 9)))
    if sample.source == "charades_sta":
        start = float(sample.answer.split(" - ")[0]) + int(rng.integers(2, 12))
        return f"{start} - {start + 8}"
    return "something else"
