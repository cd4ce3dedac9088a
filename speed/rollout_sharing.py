"""Questions shared out over processes by expected cost, against in turns.

    python -m speed.rollout_sharing [--processes 2] [--steps 6] [--rows 6]

T-GRPO steps of a small random model on clips of 2 to 16 frames: 8 questions a step, one per forward, 4 + 2 responses.
Both ways run one after the other in the same processes, over gloo. The script asserts that texts and rewards are equal
and losses equal to rounding. A process is idle for 1 − its seconds / those of the slowest process, both before the
update of each step. They are CPU seconds, so that other programs disturb less. `waited` is what steps.jsonl reports:
the share of wall time. The last line of the output is JSON.
"""

import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

from transformers.trainer_utils import SaveStrategy

from speed.arguments import parser
from speed.gpu.data import Lengths, write_clips, write_model
from stages.data.rollouts import RolloutRow
from stages.data.sample import read_samples
from stages.model.inputs import PromptBuilder
from stages.model.training_set import training_set
from stages.rl.guards import Guards
from stages.rl.stopwatch import Stopwatch
from stages.run.files import read_json, write_json
from stages.tgrpo import TgrpoParams, build_trainer
from stages.video.frame_store import FrameReader

log = logging.getLogger(__name__)

WAYS = ("in turns", "by cost")
FRAMES = (2, 2, 16, 4, 2, 8, 16, 4, 2, 12, 2, 4, 8, 2, 16, 2)
PROMPT, COMPLETION = 1250, 24  # tokens of the longest prompt, most tokens of a response
WARM_UP = 1  # steps that are not counted


class Outcome(TypedDict):
    """One process's results of a run: each step's figures, and kept rollouts."""

    busy: list[float]
    waited: list[float]
    loss: list[float]
    reward: list[float]
    rollouts: list[RolloutRow]


class Busy(Stopwatch):
    """Also counts the CPU seconds of this thread before the update."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[float] = []
        self._cpu: dict[str, float] = defaultdict(float)

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        """Add the seconds of the block to a phase."""
        begin = time.thread_time()
        with super().measure(phase):
            yield
        self._cpu[phase] += time.thread_time() - begin

    def take(self) -> dict[str, float]:
        """End a step."""
        self.steps.append(sum(seconds for phase, seconds in self._cpu.items() if phase not in ("waiting", "update")))
        self._cpu.clear()
        return super().take()


def train(folder: Path, way: str, steps: int, rows_at_once: int) -> Outcome:
    """All steps on this process, together with the others."""
    params = TgrpoParams(
        group_size=4,
        contrast_size=2,
        max_new_tokens=COMPLETION,
        rollout_rows=rows_at_once,
        length_min=1,
        length_max=COMPLETION,
        freeze_vision=True,
        feature_cache_gib=0.0,
        questions_per_forward=1,
        max_steps=steps + WARM_UP,
        precision="fp32",
        gradient_checkpointing=False,
        guards=Guards(window=1000),
        save_steps=1000,
    )
    params.configure_torch()
    reader, builder = FrameReader(folder / "frames", folder / "samples.parquet"), PromptBuilder(folder / "model")
    samples = read_samples(folder / "samples.parquet")
    questions = training_set(samples, reader, builder, lambda _: COMPLETION, None)
    work = folder / way
    work.mkdir(exist_ok=True)
    trainer, stopwatch = build_trainer(params, questions, reader, folder / "model", work), Busy()
    if way == "in turns":
        trainer.plan.cost = lambda row: 1.0  # type: ignore[method-assign]  # all alike: the processes take turns
    trainer.stopwatch = trainer.sampler.stopwatch = stopwatch
    trainer.keep_every = 1
    trainer.args.save_strategy = SaveStrategy.NO
    trainer.train_on()
    rows = [row for row in trainer.state.log_history if "reward" in row]
    kept = [row for path in sorted((work / "rollouts").glob("*.json")) for row in read_json(path)["rows"]]
    return {
        "busy": stopwatch.steps[WARM_UP:],
        "waited": [row[f"idle_{trainer.args.process_index}"] for row in rows][WARM_UP:],
        "loss": [row["loss"] for row in rows],
        "reward": [row["reward"] for row in rows],
        "rollouts": kept if trainer.is_world_process_zero() else [],
    }


def idle_shares(outcomes: list[Outcome]) -> list[float]:
    """The idle share of each process, over all steps."""
    slowest = sum(max(seconds) for seconds in zip(*(outcome["busy"] for outcome in outcomes), strict=True))
    return [1 - sum(outcome["busy"]) / slowest for outcome in outcomes]


def main() -> None:
    """Start the processes, and compare both ways."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    arguments = parser(__doc__)
    arguments.add_argument("--processes", type=int, default=2)
    arguments.add_argument("--steps", type=int, default=6)
    arguments.add_argument("--rows", type=int, default=6, help="responses that a process decodes at once")
    arguments.add_argument("--folder", type=Path, help="of the model and the clips: for the processes that it starts")
    chosen = arguments.parse_args()
    if chosen.folder is not None:
        for way in WAYS:
            found = train(chosen.folder, way, chosen.steps, chosen.rows)
            write_json(chosen.folder / f"{way} {os.environ['RANK']}.json", found)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model", "toy", "cpu")
        write_clips(folder, [Lengths(frames, PROMPT * frames // max(FRAMES) + 60, COMPLETION) for frames in FRAMES])
        launch = ["torch.distributed.run", "--standalone", f"--nproc-per-node={chosen.processes}"]
        own = [
            "-m",
            "speed.rollout_sharing",
            "--folder",
            name,
            "--steps",
            f"{chosen.steps}",
            "--rows",
            f"{chosen.rows}",
        ]
        subprocess.run([sys.executable, "-m", *launch, *own], check=True)
        ways = {
            way: [read_json(folder / f"{way} {process}.json") for process in range(chosen.processes)] for way in WAYS
        }
    compare(ways)


def compare(ways: dict[str, list[Outcome]]) -> None:
    """Print the idle shares; both ways must have the same result."""
    turns, cost = (ways[way][0] for way in WAYS)
    texts = [[(row["order"], row["text"]) for row in outcome["rollouts"]] for outcome in (turns, cost)]
    assert texts[0] == texts[1] != []
    assert turns["reward"] == cost["reward"]
    assert all(
        math.isclose(*pair, rel_tol=1e-3, abs_tol=1e-6) for pair in zip(turns["loss"], cost["loss"], strict=True)
    )
    idle = {way: idle_shares(outcomes) for way, outcomes in ways.items()}
    waited = {
        way: [sum(outcome["waited"]) / len(outcome["waited"]) for outcome in outcomes] for way, outcomes in ways.items()
    }
    for way in WAYS:
        shares = (", ".join(f"{share:.1%}" for share in found[way]) for found in (idle, waited))
        log.info("%-8s: idle %s; waited %s", way, *shares)
    means = {way: sum(shares) / len(shares) for way, shares in idle.items()}
    less = means["in turns"] / means["by cost"]
    log.info(json.dumps({"idle": idle, "waited": waited, "mean_idle": means, "times_less": less}))


if __name__ == "__main__":
    main()
