"""Placeholders of media, which this process never draws.

The model would look for pixels behind them. A server draws them unless a request forbids it.
"""

from pydantic import JsonValue

from stages.chat.parameters import ChatParams
from stages.handshake.first_requests import model_folder
from stages.model.inputs import PromptBuilder
from stages.run.errors import UserError

NEVER = -100  # logit bias of tokens that must not be drawn: the lowest of the protocol


def ban(builder: PromptBuilder) -> dict[str, JsonValue]:
    """The field of a request that forbids them."""
    return {"logit_bias": {str(token): NEVER for token in builder.banned_ids}}


def ban_of(server: ChatParams) -> dict[str, JsonValue]:
    """The field for a served model.

    Empty where no files of a known model are here. UserError when `model_path` names no folder.
    """
    folder = model_folder(server)
    try:
        return ban(PromptBuilder(folder)) if folder else {}
    except UserError:  # the handshake says so
        return {}
