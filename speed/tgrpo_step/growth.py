"""Does the cost of the step grow as the model says?"""

import logging
from pathlib import Path
from typing import Literal

from speed.tgrpo_step.cases import CONTRAST, FRAME_HEIGHT, FRAME_WIDTH, Case
from speed.tgrpo_step.cost import PHASES, Phase
from speed.tgrpo_step.here import prepare
from stages.model.load import load_config
from stages.planning.size import ModelSize, model_size
from stages.planning.work import Shape, decode, encode, prefill, score_group, trained

log = logging.getLogger(__name__)

GROWTH = {
    "base": Case(frames=6, prompt=480, completion=48, group=4),
    "G x 2": Case(frames=6, prompt=480, completion=48, group=8),
    "G x 4": Case(frames=6, prompt=480, completion=48, group=16),
    "P x 2": Case(frames=12, prompt=960, completion=48, group=4),
    "P x 4": Case(frames=24, prompt=1920, completion=48, group=4),
    "C x 2": Case(frames=6, prompt=480, completion=96, group=4),
    "C x 4": Case(frames=6, prompt=480, completion=192, group=4),
}

Unit = Literal["seconds", "flops"]
Growth = dict[Phase, tuple[float, float]]


def predicted(case: Case, size: ModelSize) -> dict[Phase, float]:
    """Operations of each phase of this project's step (stages/planning/work.py)."""
    grids = case.frames / 2
    shape = Shape(case.prompt, grids * FRAME_HEIGHT * FRAME_WIDTH / 28**2, grids, case.completion)
    scored = score_group(shape, case.group) + encode(shape, size)
    rolled = (prefill(shape) + encode(shape, size)) * 2 + decode(shape, case.group + CONTRAST)
    return {
        "rollout": rolled.flops(size),
        "reference": scored.flops(size),
        "policy": trained(scored, case.checkpointing).flops(size),
    }


def sweep(folder: Path) -> dict[str, Growth]:
    """Measured and predicted growth of each phase over the first of GROWTH."""
    size = model_size(load_config(folder))
    found: dict[str, dict[Unit, dict[Phase, float]]] = {}
    for name, case in GROWTH.items():
        step = prepare(folder, case)
        step.run(case)
        found[name] = {"seconds": step.cost.seconds, "flops": predicted(case, size)}
    first = found["base"]
    log.info("%24s%30s%30s%30s", "growth: measured (predicted)", *PHASES)
    growths: dict[str, Growth] = {}
    for name, figures in found.items():
        growth: Growth = {
            phase: (
                figures["seconds"][phase] / first["seconds"][phase],
                figures["flops"][phase] / first["flops"][phase],
            )
            for phase in PHASES
        }
        log.info("%24s" + "%20.2f (%7.2f)" * 3, name, *(value for pair in growth.values() for value in pair))
        growths[name] = growth
    return growths
