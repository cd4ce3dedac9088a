"""The first requests of a run check the server against model files.

Nothing of the handshake is kept: the same questions are asked again afterwards.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path

from stages.chat.ask_all import ask_all
from stages.chat.client import ChatClient
from stages.chat.parameters import ChatParams
from stages.chat.reply import Reply
from stages.chat.request import Request
from stages.data.prompt import PromptStyle
from stages.handshake.asked import Asked
from stages.handshake.folder import settings
from stages.run.errors import UserError

log = logging.getLogger(__name__)

LOOKED_AT = 64
"""The questions to compare are chosen from the first ones, this many."""

_NOT_SENT = ("top_k", "min_p", "repetition_penalty")  # sampling that vLLM takes from the model's folder


def files_at_hand(params: ChatParams) -> Path | None:
    """The folder of the served model.

    None, and a line in the log, where no handshake is possible or wanted.
    """
    if not params.handshake:
        log.info("handshake: switched off; nothing proves that the server reads what this process would")
        return None
    if folder := model_folder(params):
        return folder
    log.info(
        "handshake: not possible, because the files of '%s' are not here; model_path can name a folder with its config "
        "and tokenizer",
        params.model,
    )
    return None


def model_folder(params: ChatParams) -> Path | None:
    """The folder with the served model's files, None where there is none.

    UserError when `model_path` names no folder.
    """
    folder = Path(params.model_path or params.model)
    if folder.is_dir():
        return folder
    if params.model_path:
        raise UserError(f"model_path names {folder}, which is no folder; name the folder with the served model's files")
    return None


async def shake_hands(
    client: ChatClient,
    params: ChatParams,
    prompt: PromptStyle,
    asked: Sequence[Asked],
    admit: Callable[[Request], bool] = lambda request: True,
    admit_again: Callable[[Request], bool] = lambda request: True,
    settle: Callable[[Request, Reply], None] = lambda request, reply: None,
) -> None:
    """Ask some of the questions, and compare.

    UserError with what differs and what to set. The last three arguments are those of `Ledger`: what the handshake
    costs counts too.
    """
    # Only here, because torch takes seconds to import and most annotations need none.
    from stages.handshake.comparison import ServedModel, chosen

    async def ask(requests: Sequence[Request]) -> list[tuple[Request, Reply]]:
        answered: list[tuple[Request, Reply]] = []
        async with aclosing(ask_all(client, requests, params.concurrency, admit, admit_again)) as batches:
            async for batch in batches:
                for request, reply in batch:
                    settle(request, reply)
                answered += batch
        return answered

    folder = Path(params.model_path or params.model)
    try:
        served = ServedModel(folder, prompt, ask)
    except UserError as error:
        if params.model_path:
            raise
        log.info("handshake: not possible: %s", error)
        return
    _warn_of_sampling(folder, params)
    if difference := await served.difference(chosen(asked)):
        raise UserError(
            f"handshake: the server does not read what this process would. What differs is {difference}. "
            "With handshake: false the run goes on all the same"
        )


def check_prompt(folder: Path, prompt: PromptStyle) -> None:
    """UserError when the model was trained with another prompt style.

    Only a folder that this pipeline wrote names the style.
    """
    trained = settings(folder / "pipeline.json").get("prompt")
    if trained and trained != prompt:
        raise UserError(
            f"handshake: {folder} was trained with the prompt style '{trained}' and is asked with '{prompt}'; set "
            f"evaluate.defaults.server.prompt: {trained}, or handshake: false to ask it so all the same"
        )


def _warn_of_sampling(folder: Path, params: ChatParams) -> None:
    """Warn of sampling that vLLM adds from generation_config.json."""
    file = folder / "generation_config.json"
    found = settings(file)
    added = [f"{name}: {found[name]}" for name in _NOT_SENT if name in found.keys() - params.extra_body.keys()]
    if added:
        log.warning(
            "%s holds %s, which vLLM adds to each request; start vLLM with --generation-config vllm, or set them in "
            "extra_body",
            *(file, ", ".join(added)),
        )
