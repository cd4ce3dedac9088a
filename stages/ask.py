"""One question about a clip of your own, in several showings.

    python -m stages.ask clip.mp4 "Which way does it move?" --model models/tgrpo --option left --option right

The same question is asked with the frames in order, shuffled, reversed and without frames. The answers are printed and
written to a page with the frames as the model saw them. Frames are taken as `benchmark.defaults` says, and answers as
`evaluate.defaults` says; for a real model, pass `--params profiles/one-gpu.yaml`. `--server` asks a served model.
"""

import argparse
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import torch

from stages.asking.collect import check_model, collect, engine_of, fitted, plan
from stages.benchmark import BenchmarkParams
from stages.data.options import LETTERS, letter_options
from stages.data.order import Order
from stages.data.sample import Reject, Sample, Unusable
from stages.evaluate import EvaluateParams
from stages.reporting.asked import Asked, answer_of, asked_page, asked_text
from stages.run.command import tool
from stages.run.errors import UserError
from stages.run.files import write_atomic
from stages.run.params import load_params
from stages.video.check import MediaCheck
from stages.video.extract import extract
from stages.video.frame_store import FrameReader

log = logging.getLogger(__name__)

NAME = "ask"  # the id of the only question


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m stages.ask", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", help="a video on this machine")
    parser.add_argument("question", help="what to ask about the clip")
    parser.add_argument("--model", required=True, help="folder, hub name, or name of a served model")
    parser.add_argument("--option", action="append", default=[], help="an option of the question; repeatable")
    parser.add_argument(
        "--orders",
        nargs="+",
        choices=get_args(Order),
        default=["ordered", "shuffled", "reversed", "blind"],
        help="the showings (default: ordered shuffled reversed blind)",
    )
    parser.add_argument("--frames", type=int, help="most frames of the clip (default: benchmark.defaults, or 16)")
    parser.add_argument("--server", help="address of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("evaluations/ask.html"), help="default: %(default)s")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Ask, print the answers side by side, and write the page.

    UserError when the clip or the question cannot be used.
    """
    chosen = parse(arguments)
    sample = question(chosen.clip, chosen.question, chosen.option)
    taking = load_params(BenchmarkParams, "benchmark", chosen.params, item=NAME)
    most = taking.max_frames if chosen.frames is None else chosen.frames
    if not 1 <= most <= 1024:
        raise UserError(f"--frames is {most}; it must be from 1 to 1024")
    taking = taking.model_copy(update={"max_frames": most, "workers": 1})
    params = load_params(EvaluateParams, "evaluate", chosen.params, item=NAME).asking(chosen.model, chosen.server)
    params = fitted(params, "evaluate")
    check_model(params, chosen.model)
    with TemporaryDirectory(prefix="ask-") as folder:
        reader = take_frames(sample, taking, Path(folder))
        asked = ask(sample, reader, params, chosen.model, chosen.orders, Path(folder))
    for line in asked_text(asked, shutil.get_terminal_size((120, 24)).columns).splitlines():
        log.info(line)
    write_atomic(chosen.out, asked_page(asked))
    log.info("\nwith the frames: %s", chosen.out)


def question(clip: str, text: str, options: Sequence[str]) -> Sample:
    """The question as a sample without an answer.

    UserError for a clip that is no file on this machine, and for a question or option without words.
    """
    if "://" in clip:
        raise UserError(f"{clip} is an address; download the clip and name the file")
    if not Path(clip).exists():
        raise UserError(f"{clip}: no such file")
    if not all(words.strip() for words in (text, *options)):
        raise UserError("the question and each --option need words")
    if len(options) == 1 or len(options) > len(LETTERS):
        raise UserError(f"{len(options)} options; a question has none, or from 2 to {len(LETTERS)}")
    return Sample(
        sample_id=NAME,
        source=NAME,
        data_type="video",
        problem_type="multiple choice" if options else "free-form",
        problem=text,
        options=lettered(options) if options else (),
        answer="",
        media_path=clip,
        media_sha256="",
        split="test",
    )


def lettered(options: Sequence[str]) -> tuple[str, ...]:
    """The options with letters: their own ones, or by position.

    UserError for options that are the same, and for letters that may be text.
    """
    try:
        lines, _ = letter_options(options, options[0])
    except Unusable as error:
        raise UserError(f"{error.reason}: {error.detail}; write each --option once and without a letter") from None
    return lines


def take_frames(sample: Sample, params: BenchmarkParams, folder: Path) -> FrameReader:
    """The frames of the question's clip, in `folder`.

    UserError when the clip has no usable frames.
    """
    with MediaCheck(params.limits, NAME) as check:
        [checked] = check([sample])
    refused = [checked] if isinstance(checked, Reject) else extract([checked], params, folder, folder / "keys", NAME)
    if refused and refused[0].reason == "wrong media type":
        raise UserError(f"{sample.media_path} is a picture; only the frames of a clip have an order")
    if refused:
        raise UserError(f"{refused[0].detail} ({refused[0].reason}); the clip cannot be shown")
    return FrameReader(folder, folder / "keys")


def ask(
    sample: Sample, reader: FrameReader, params: EvaluateParams, model: str, orders: Sequence[Order], work: Path
) -> Asked:
    """The answers of `model`, one for each order; see `fitted`."""
    torch.set_num_threads(params.threads)
    engine, _ = engine_of(params, model, reader)
    showings = plan([sample], [sample.sample_id], list(dict.fromkeys(orders)))
    outputs = collect(engine, showings, work, max_failed=0, stage="evaluate")
    answers = [answer_of(outputs[showing.key], reader) for showing in showings]
    return Asked(Path(sample.media_path).name, Path(model).name, sample, reader.times(sample.sample_id), answers)


if __name__ == "__main__":
    tool("ask", main)
