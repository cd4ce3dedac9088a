"""Decoding with refilled rows against pack after pack.

    python -m speed.refilling [QUESTIONS]

Both decode the same answers of the random 30 M model of speed.tgrpo_step, in one process on one thread. An answer ends
after about 60 tokens, or is cut off at 192. The script prints decode steps and CPU seconds for 4, 8 and 16 rows, and
asserts that both ways give the same tokens. The last line of the output is JSON.
"""

import json
import logging
import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers.modeling_utils import PreTrainedModel

from speed.arguments import parser
from speed.tgrpo_step.cases import VOCABULARY, Case, question, write_model
from stages.generation.decoder import Decoder
from stages.generation.generate import Job, generate_continuously, room_for
from stages.generation.sampling import Sampling
from stages.model.inputs import PromptBuilder
from stages.model.load import load_model

log = logging.getLogger(__name__)

CASE = Case(frames=2, prompt=180, completion=192)
STOP_EVERY = 60  # mean tokens until the random model ends an answer
ROWS = (4, 8, 16)


class Steps:
    """Counts the steps of all decoders."""

    def __init__(self) -> None:
        self.count = 0
        step = Decoder.step

        def counted(decoder: Decoder) -> None:
            self.count += 1
            step(decoder)

        Decoder.step = counted  # type: ignore[method-assign]  # every decoder is counted, whoever makes it


def answer(model: PreTrainedModel, builder: PromptBuilder, jobs: Sequence[Job], rows: int) -> list[list[int]]:
    """The tokens of each answer, with at most `rows` rows at once."""
    found: dict[int, list[int]] = {}
    room = room_for([len(job.prompt.ids_P) for job in jobs], [1] * len(jobs), rows)
    for answered in generate_continuously(model, builder, jobs, Sampling(CASE.completion), room):
        found |= {number: completion.ids_C.tolist() for number, [completion] in answered.items()}
    return [found[number] for number in range(len(jobs))]


def main() -> None:
    """Measure both ways."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    arguments = parser(__doc__)
    arguments.add_argument("questions", nargs="?", type=int, default=48)
    asked: int = arguments.parse_args().questions
    torch.set_num_threads(1)
    steps, figures = Steps(), []
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        builder, model = PromptBuilder(Path(folder)), load_model(Path(folder))
        prompt = question(builder, CASE).ordered
    bias = torch.zeros(VOCABULARY).index_fill(0, torch.tensor([builder.end_id]), math.log(VOCABULARY / STOP_EVERY))
    model.get_submodule("lm_head").bias = torch.nn.Parameter(bias, requires_grad=False)
    jobs = [Job(prompt, 1, seed) for seed in range(asked)]
    for rows in ROWS:
        spent: list[tuple[int, float]] = []
        texts: list[list[list[int]]] = []
        for at_a_time in (rows, asked):
            steps.count, start = 0, time.process_time()
            packs = [answer(model, builder, jobs[at : at + at_a_time], rows) for at in range(0, asked, at_a_time)]
            spent.append((steps.count, time.process_time() - start))
            texts.append([tokens for pack in packs for tokens in pack])
        assert texts[0] == texts[1]
        (packed, packed_s), (refilled, refilled_s) = spent
        log.info("%2d rows: %d → %d steps, %.1f → %.1f CPU s", rows, packed, refilled, packed_s, refilled_s)
        figures.append({"rows": rows, "steps": packed / refilled, "times_faster": packed_s / refilled_s})
    log.info(json.dumps(figures))


if __name__ == "__main__":
    main()
