"""A vLLM server that draws responses with the adapter it was given.

vLLM loads and forgets adapters while it runs, by name (`/v1/load_lora_adapter`), when it was started with
`--enable-lora` and with VLLM_ALLOW_RUNTIME_LORA_UPDATING in its environment.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import httpx2
import orjson
from pydantic import JsonValue

from stages.chat import failures
from stages.chat.address import ENDPOINT, chat_url, read_key, ssl_context
from stages.chat.client import ChatClient
from stages.chat.parameters import EndpointParams
from stages.chat.reply import Reply
from stages.chat.request import Request
from stages.chat.transport import AioHttpClient
from stages.run.errors import EndpointError, UserError

ANSWER_S = 30.0  # for each question about the server; a lost host sends nothing


@dataclass(frozen=True)
class Adapter:
    """Adapters in PEFT's format, and the name under which servers know them."""

    folder: Path
    rank: int

    @property
    def name(self) -> str:
        """It stands for these very weights."""
        return self.folder.name


class AdapterServer:
    """One server. Use as `async with`, inside one event loop."""

    def __init__(self, params: EndpointParams) -> None:
        """UserError for an address or a key that cannot be used."""
        self.url = params.base_url
        self._root = chat_url(params.base_url).removesuffix(ENDPOINT)
        self._timeout_s, self._key = params.timeout_s, read_key(params.api_key_env)
        self._chat = ChatClient(params)
        self._http = AioHttpClient(ssl_context(params.ca_file))

    async def __aenter__(self) -> "AdapterServer":
        await self._chat.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._chat.__aexit__(kind, error, trace)
        await self._http.aclose()

    async def ask(self, request: Request) -> Reply:
        """The reply to a request.

        It has the status `failed` for every error.
        """
        try:
            return await self._chat.request(request)
        except UserError as error:
            return Reply("failed", detail=str(error))

    async def models(self) -> dict[str, str | None]:
        """The server's names, with the base model's name for adapters.

        EndpointError when it does not answer, UserError when it does not tell.
        """
        status, words = await self._call("GET", "/models")
        try:
            cards = json.loads(words)["data"] if status == httpx2.codes.OK else None
            return {str(card["id"]): card.get("parent") for card in cards or ()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(f"{self.url} is no vLLM server: {self._root}/models answers {self._line(words)}") from None

    async def base(self) -> str:
        """The name of the base model; errors as in `models`."""
        found = [name for name, parent in (await self.models()).items() if parent is None]
        if not found:
            raise UserError(f"{self.url} names no base model under {self._root}/models; is it a vLLM server?")
        return found[0]

    async def load(self, adapter: Adapter) -> None:
        """Have the server load the adapter, unless it has it.

        EndpointError when the server does not answer, UserError with what to change when it refuses.
        """
        if adapter.name in await self.models():
            return
        body: dict[str, JsonValue] = {"lora_name": adapter.name, "lora_path": str(adapter.folder), "load_inplace": True}
        status, words = await self._call("POST", "/load_lora_adapter", body)
        if status != httpx2.codes.OK:
            raise UserError(
                f"{self.url} does not load adapters: HTTP {status}: {self._line(words)}; {advice(words, adapter)}"
            )

    async def unload(self, name: str) -> None:
        """Have the server forget an adapter; it may have lost it before."""
        await self._call("POST", "/unload_lora_adapter", {"lora_name": name})

    def _line(self, words: str) -> str:
        return failures.in_one_line(words, self._key)

    async def _call(self, method: str, path: str, body: Mapping[str, JsonValue] | None = None) -> tuple[int, str]:
        """The status and the text of an answer; EndpointError when none comes."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        content = b"" if body is None else orjson.dumps(body)
        request = httpx2.Request(method, self._root + path, headers=headers, content=content)
        try:
            async with asyncio.timeout(self._timeout_s if body else ANSWER_S):
                response = await self._http.send(request)
        except (httpx2.TransportError, TimeoutError) as error:
            words = self._line(str(error) or "time-out")
            raise EndpointError(
                f"no server answers at {self.url} ({words}); start it, or take it out of tgrpo.rollout.servers"
            ) from None
        return response.status_code, response.text


def advice(words: str, adapter: Adapter) -> str:
    """What to change when a server refuses an adapter with these words."""
    if "No adapter found" in words:
        return (
            "set tgrpo.rollout.folder to a folder that the server sees under the same path, "
            f"which {adapter.folder.parent} is not"
        )
    return (
        f"start it with --enable-lora --max-lora-rank {adapter.rank} (or more) and "
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True in its environment, or set tgrpo.rollout to null"
    )
