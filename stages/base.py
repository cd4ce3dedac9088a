"""The base model: a real one, or the embedded one.

Of a real model the stage writes a pointer. It builds the embedded one and teaches it to see.
"""

import logging
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from pydantic import Field

from stages.data.prompt import PromptStyle
from stages.embedded.align import align
from stages.embedded.language import corpus
from stages.embedded.tiny import write_tiny
from stages.model.family import VideoText
from stages.model.inputs import PromptBuilder
from stages.model.load import PIPELINE_FILE, ModelSource, find_model, load_config, load_model, resolve
from stages.model.save import save_model
from stages.run.command import command
from stages.run.files import write_json
from stages.run.params import LARGEST_SEED, Params

log = logging.getLogger(__name__)

EMBEDDED = "embedded"
CORPUS_LINES = 2000


class BaseParams(Params):
    """The model that training starts from.

    `seed`, `align_*` and `threads` concern the embedded model only.
    """

    model: str = Field(
        default=EMBEDDED, min_length=1, description="'embedded', a hub name or a folder in Hugging Face format"
    )
    revision: str | None = Field(default=None, description="branch, tag or commit on the hub; null: the newest commit")
    prompt: PromptStyle = Field(
        default="plain", description="words of the questions, in training and evaluation: 'video-r1' for real models"
    )
    video_text: VideoText = Field(
        default="frames",
        description="Qwen3-VL's videos, here and in the models trained from it: 'frames' is the text of transformers "
        "4.57, 'enclosed' has one more start and end token around it, as transformers 5.10 and later write it",
    )
    enable_thinking: bool | None = Field(
        default=None,
        description="whether the chat template lets the model think, here and in the models trained from it, "
        "where it asks `enable_thinking` (Qwen3.5, GLM-4.6V); null: as the template does by default",
    )
    seed: int = Field(
        default=0, ge=0, le=LARGEST_SEED, description="of the weights, the tokenizer's text and the scenes"
    )
    align_steps: int = Field(default=300, ge=1, description="batches of scenes for alignment")
    align_clips: int = Field(default=12, ge=1, description="scenes per batch")
    align_learning_rate: float = Field(default=4e-3, gt=0, description="largest learning rate of alignment")
    threads: int = Field(default=1, ge=1, description="CPU threads of this process")


def run(params: BaseParams, out: Path, metrics: Path) -> None:
    """Write the model folder `out`.

    It holds the embedded model's files, or a pointer to a model that stays where it is.
    """
    if params.model == EMBEDDED:
        torch.set_num_threads(params.threads)
        torch.use_deterministic_algorithms(True)
        found = build(params, out)
    else:
        found = point(params, out)
    write_json(metrics, found)


def build(params: BaseParams, out: Path) -> dict[str, object]:
    """Write the embedded model, aligned.

    Returns its size and the share of things that it names.
    """
    lines = corpus(np.random.default_rng(params.seed), CORPUS_LINES)
    with TemporaryDirectory() as folder:
        untrained = Path(folder)
        write_tiny(untrained, lines, params.seed, params.prompt)
        model = load_model(untrained)
        seen = align(
            model,
            PromptBuilder(untrained),
            params.align_steps,
            params.align_clips,
            params.align_learning_rate,
            params.seed,
        )
        save_model(model, resolve(untrained), out)
    named = ", ".join(f"{slot} {share:.0%}" for slot, share in seen.items())
    log.info("%d parameters; names after alignment: %s", model.num_parameters(), named)
    return {"model": EMBEDDED, "parameters": model.num_parameters(), "align": seen}


def point(params: BaseParams, out: Path) -> dict[str, object]:
    """Write a pointer to a folder or to a hub model.

    A hub model is pinned to its present commit.
    Only the model's config is fetched here.
    """
    folder = find_model(params.model, params.revision, ["config.json"])
    load_config(folder)
    if Path(params.model).is_dir():
        pointer: dict[str, object] = {"model": str(folder.resolve()), "revision": None}
    else:
        pointer = {"model": params.model, "revision": folder.name}
    shutil.rmtree(out, ignore_errors=True)
    source = ModelSource(folder, params.prompt, params.video_text, params.enable_thinking)
    write_json(out / PIPELINE_FILE, pointer | source.pipeline())
    log.info("%s, revision %s", pointer["model"], pointer["revision"])
    return pointer


if __name__ == "__main__":
    command(run)
