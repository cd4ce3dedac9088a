"""A benchmark of two-option questions, with its answers and rows."""

from stages.data.order import Order
from stages.data.outputs import Output, OutputStatus
from stages.data.sample import ProblemType, Sample
from stages.evaluation.definition import Benchmark
from stages.evaluation.predictions import PredictionRow, Status, prediction_row

TOY = Benchmark(read=lambda root: iter(()), temporal=frozenset({"order"}))


def toy_sample(sample_id: str = "q", category: str = "order", problem_type: ProblemType = "multiple choice") -> Sample:
    """A question whose right answer is B."""
    return Sample(
        sample_id=sample_id,
        source="toy",
        data_type="video",
        problem_type=problem_type,
        problem="Which?",
        options=("A. left", "B. right"),
        answer="B",
        media_path="m",
        media_sha256="0",
        category=category,
    )


def toy_output(
    sample_id: str = "q", order: Order = "ordered", text: str = "<answer>B</answer>", status: OutputStatus = "ok"
) -> Output:
    return {
        "key": f"{order}/{sample_id}",
        "sample_id": sample_id,
        "order": order,
        "text": text,
        "status": status,
        "tokens": 7,
        "frame_order": list(range(8)),
        "n_frames": 8,
        "width": 48,
        "height": 48,
        "detail": "",
    }


def toy_row(sample_id: str, order: Order, score: int) -> PredictionRow:
    """A graded answer to a temporal question (t…) or a static one."""
    category = "order" if sample_id.startswith("t") else "colour"
    text = f"<think>t</think><answer>{'B' if score else 'A'}</answer>"
    return prediction_row(toy_sample(sample_id, category), toy_output(sample_id, order, text), TOY)


def scored_row(
    sample_id: str,
    order: Order = "ordered",
    official: float | None = 0.0,
    video_r1: float | None = 0.0,
    category: str = "order",
    status: Status = "ok",
    n_frames: int = 8,
    size: tuple[int, int] = (48, 48),
) -> PredictionRow:
    """A row with the scores given; `size` is (width, height) in pixels."""
    return {
        "sample_id": sample_id,
        "order": order,
        "category": category,
        "problem_type": "multiple choice",
        "answer": "B",
        "text": "<answer>B</answer>",
        "prediction": "B",
        "prediction_video_r1": "B",
        "option": "B",
        "status": status,
        "well_formed": True,
        "official": official,
        "video-r1": video_r1,
        "tokens": 9,
        "frame_order": list(range(n_frames)),
        "n_frames": n_frames,
        "width": size[0],
        "height": size[1],
        "detail": "",
        "judgement": None,
    }
