"""A made-up project of ten benchmarks and five models, to look at the page of many.

    python -m tests.reporting.large FOLDER [QUESTIONS]

Writes FOLDER with QUESTIONS of each benchmark (default: 750) and its report, and prints the report's size and seconds.
"""

import logging
import sys
import time
from pathlib import Path

import numpy as np

from speed.drawn import CATEGORIES, draw_predictions, draw_samples
from stages.data.conditions import Conditions, with_conditions
from stages.data.order import Order
from stages.data.sample import Reject, Sample, write_rejects, write_samples
from stages.data.shards import ShardStore
from stages.embedded.world.questions import make
from stages.embedded.world.scene import draw
from stages.evaluation.benchmarks import get_benchmark
from stages.evaluation.faithfulness import faithfulness, with_faithfulness
from stages.evaluation.judgements import JudgeRecord, agreement, decided, with_judge
from stages.evaluation.predictions import PREDICTION_SCHEMA, PredictionRow
from stages.run.files import write_table
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA, Frames
from tests.reporting.made_up import EVIL, PARAMS, make_training, write_report

log = logging.getLogger(__name__)

SKILLS = {"Qwen3-VL-8B-Instruct": 0.6, "base": 0.35, "sft": 0.5, "tgrpo": 0.58, "tgrpo-likelihood": 0.62}
LOST: dict[Order, float] = {"ordered": 0.0, "shuffled": 0.12, "reversed": 0.08, "blind": 0.25}
LARGE = PARAMS.model_copy(update={"models": tuple(SKILLS), "benchmarks": tuple(CATEGORIES)})
JUDGED = "mmvu"
CLIPS = 24  # of each benchmark; its questions take them in turn


def make_large(place: Path, n_questions: int) -> None:
    """Write every input of the report into a folder."""
    make_training(place)
    for number, name in enumerate(CATEGORIES):
        rng = np.random.default_rng(number)
        samples = draw_samples(name, n_questions, rng)
        samples[0] = samples[0].model_copy(update={"problem": EVIL})
        folder = place / "data" / "benchmarks" / f"{name}-8"
        write_samples(folder / "samples.parquet", samples)
        write_rejects(folder / "quarantine.parquet", [Reject(sample_id="gone", stage="benchmark", reason="missing")])
        _write_frames(folder, samples, rng)
        for model, skill in SKILLS.items():
            # How much the video and its order add differs from benchmark to benchmark.
            chances: dict[Order, float] = {
                order: max(0.05, skill + 0.02 * number - lost * number / 5) for order, lost in LOST.items()
            }
            served = name == "mmvu" and model.startswith("Qwen")
            asked: Conditions = {"by": "a server: vllm 0.32" if served else "this process"}
            rows = list(draw_predictions(name, samples, chances, rng))
            judge = _judge(rows, rng) if name == JUDGED else None
            # Whether answers change is drawn too.
            followed = faithfulness(rows, get_benchmark(name), (rng.random(100) < skill).tolist())
            schema = with_judge(with_faithfulness(with_conditions(PREDICTION_SCHEMA, asked), followed), judge)
            write_table(place / "predictions" / f"{model}-{name}-8.parquet", rows, schema)


def _judge(rows: list[PredictionRow], rng: np.random.Generator) -> JudgeRecord:
    """Give rows a judge's verdicts, of which some are drawn."""
    for row in rows:
        by_rules = row["official"]
        right = row["prediction"] == row["answer"] if rng.random() < 0.6 else bool(rng.random() < 0.5)
        row["judgement"] = {
            "verdict": "correct" if right else "incorrect",
            "reason": "the answer means the same" if right else "the answer names something else",
            "decides": by_rules is None,
            "by_rules": by_rules,
        }
        row["official"] = float(right) if by_rules is None else by_rules
    judgements = [each for row in rows if (each := row["judgement"])]
    return {
        "name": "gemma3-270m at http://127.0.0.1:8001/v1, prompt judge-1",
        "model": "gemma3-270m",
        "base_url": "http://127.0.0.1:8001/v1",
        "prompt": "judge-1",
        "decided": decided(judgements),
        "without_answer": 0,
        "checks": agreement([each for each in judgements if not each["decides"]]),
        "replaced": None,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "cost": 0.0,
    }


def _write_frames(folder: Path, samples: list[Sample], rng: np.random.Generator) -> None:
    rows, times = [], np.arange(8)
    for number in range(CLIPS):
        pixels = draw(make("direction", rng).scene)[::2]
        rows.append(row_from_frames(f"clip{number}", Frames(pixels, times, times / 2, 2.0), 95))
    ShardStore(folder / "frames", SCHEMA).append(rows)
    keys = [
        {"sample_id": sample.sample_id, "frame_key": f"clip{number % CLIPS}"} for number, sample in enumerate(samples)
    ]
    write_table(folder / "frames.parquet", keys, FRAME_KEYS_SCHEMA)


def main() -> None:
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    place, n_questions = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 750
    make_large(place, n_questions)
    start = time.perf_counter()
    page = write_report(place, place / "index.html", LARGE)
    log.info("%.1f MB in %.1f s", len(page.encode()) / 1e6, time.perf_counter() - start)


if __name__ == "__main__":
    main()
