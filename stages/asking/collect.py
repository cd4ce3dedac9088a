"""From parameters to answers: the engine, the showings, the kept answers."""

import logging
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeVar, cast

from stages.asking.engines import Engine, Showing, TransformersEngine
from stages.asking.params import AskingParams
from stages.asking.server_engine import ServerEngine
from stages.chat.payload import choose_payload, server_kind
from stages.data.conditions import Conditions
from stages.data.journal import JournaledStore
from stages.data.order import Order
from stages.data.outputs import OUTPUT_SCHEMA, Output
from stages.data.sample import Sample
from stages.generation.sampling import Sampling
from stages.handshake.placeholders import ban_of
from stages.model.load import find_model, load_config, resolve
from stages.run.errors import UserError
from stages.run.work import WORK
from stages.video.frame_store import FrameReader

log = logging.getLogger(__name__)

P = TypeVar("P", bound=AskingParams)

# How this process, vLLM, SGLang, llama.cpp and OpenAI say that a prompt is too long.
_TOO_LONG = re.compile(r"prompt has [\d,]+ tokens, more|maximum model length|context[ _](?:length|size)", re.IGNORECASE)


def plan(
    samples: Sequence[Sample], with_frames: Collection[str], orders: Sequence[Order], answers: int = 1
) -> list[Showing]:
    """Every question with frames in every order.

    Each is to be answered `answers` times. An image has one order, and `blind`.
    """
    ready = set(with_frames)
    return [
        Showing(sample, order, answers)
        for sample in samples
        if sample.sample_id in ready
        for order in orders
        if sample.data_type == "video" or order in ("ordered", "blind")
    ]


def fitted(params: P, stage: str) -> P:
    """The parameters with what suits the server.

    These are its payload in place of `auto`, and whether it is told to draw no placeholders of media.
    """
    server = params.server
    if params.engine != "openai" or server is None:
        return params
    payload = choose_payload(server, WORK / stage / "servers.json")
    own = "logit_bias" in server.extra_body
    forbid = server.forbid_placeholders and not own and bool(ban_of(server))
    return params.model_copy(
        update={"server": server.model_copy(update={"payload": payload, "forbid_placeholders": forbid})}
    )


def check_model(params: AskingParams, model: str) -> None:
    """UserError for a model that this process cannot find or read."""
    if params.engine == "transformers":
        load_config(resolve(find_model(model, None)).folder)


def engine_of(params: AskingParams, model: str, reader: FrameReader) -> tuple[Engine, list[Path]]:
    """The engine, and the files of the model that it runs.

    UserError for a prompt that the engine would not use.
    """
    sampling = Sampling(params.max_new_tokens, params.temperature, params.top_p)
    if params.engine == "openai" and params.server is not None:
        if params.prompt:
            raise UserError("`prompt` is for a model in this process; write it as server.prompt for a served one")
        return ServerEngine(params.server, reader, sampling, params.seed), []
    folder = find_model(model, None)
    return TransformersEngine(
        folder,
        reader,
        sampling,
        params.seed,
        params.batch_tokens,
        params.precision,
        params.max_prompt_tokens,
        params.prompt,
    ), [folder]


def conditions_of(params: AskingParams, model_files: Sequence[Path], stage: str) -> Conditions:
    """How the model is asked."""
    sampling = params.model_dump(include={"max_new_tokens", "temperature", "top_p"})
    if params.engine != "openai" or params.server is None:
        return {
            "by": "this process",
            "prompt": params.prompt or resolve(model_files[0]).prompt,
            "precision": params.precision,
            **sampling,
        }
    server = params.server
    return {
        "by": f"a server: {server_kind(server, WORK / stage / 'servers.json') or 'unknown'}",
        "frame_rate": "each clip's own" if server.payload == "video" else "not sent",
        **server.model_dump(include={"prompt", "payload", "frame_times", "extra_body"}),
        **({"placeholders": "forbidden"} if server.forbid_placeholders else {}),
        **sampling,
    }


def collect(
    engine: Engine, showings: Sequence[Showing], work: Path, max_failed: float, stage: str
) -> dict[str, Output]:
    """The outputs by key, from the journal or else from the engine.

    New outputs go to the journal in `work` as they come, without failed ones, so that the next run asks those again.
    UserError when the failed ones are a larger share of the answers than `max_failed`, a parameter of `stage`.
    """
    failed: dict[str, Output] = {}
    keys = [key for showing in showings for key in showing.keys]
    with JournaledStore(work / "outputs", work / "outputs.jsonl", OUTPUT_SCHEMA) as journal:

        def keep(outputs: Sequence[Output]) -> None:
            journal.add([output for output in outputs if output["status"] != "error"])
            failed.update({output["key"]: output for output in outputs if output["status"] == "error"})
            if len(failed) > max_failed * len(keys):
                limit = f"more than {stage}.max_failed = {max_failed:g} of {len(keys)}"
                raise UserError(f"{_failures(failed.values())}; {limit}")

        engine.answer(showings, journal, keep)
        if failed:
            log.warning("%s; counted as missing", _failures(failed.values()))
        return failed | {key: cast(Output, journal.read(key)) for key in keys if key not in failed}


def _failures(failed: Collection[Output]) -> str:
    """How many questions have no answer, why, and what to do."""
    too_long = [output["detail"] for output in failed if _TOO_LONG.search(output["detail"])]
    others = [output["detail"] for output in failed if not _TOO_LONG.search(output["detail"])]
    parts = []
    if others:
        again = "run the same command again to ask them again"
        parts.append(f"{len(others)} requests failed, most often with: {_most_frequent(others)}; {again}")
    if too_long:
        shorter = "ask about fewer or smaller frames, because the same prompt fails again"
        parts.append(f"{len(too_long)} prompts are too long, for example: {_most_frequent(too_long)}; {shorter}")
    return "; ".join(parts)


def _most_frequent(details: Sequence[str]) -> str:
    [(detail, _)] = Counter(details).most_common(1)
    return detail
