"""How frames travel to a server: chosen by what the server is."""

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import httpx2
import orjson

from stages.chat.address import ENDPOINT, chat_url, read_key, ssl_context
from stages.chat.failures import tls_advice
from stages.chat.parameters import ChatParams, Payload
from stages.chat.transport import AioHttpClient
from stages.run.errors import EndpointError, UserError
from stages.run.files import read_json, write_json

log = logging.getLogger(__name__)

SECONDS = 10.0  # for each question about the server


def choose_payload(params: ChatParams, memory: Path) -> Payload:
    """The payload of the parameters; `auto` becomes what suits the server.

    vLLM takes clips as videos.

    The choice for a server is remembered in the file `memory`: a run whose answers are all on disk needs no server.
    EndpointError when the server is asked for the first time and does not answer.
    """
    if params.payload != "auto":
        return params.payload
    server = server_kind(params, memory)
    if server is None:
        raise EndpointError(
            f"no server answers at {params.base_url}, so payload: auto cannot choose; "
            "start the server or correct base_url, and run the same command again"
        )
    if server.startswith("vLLM"):
        log.info("payload: auto: the server is %s, so each clip travels as a video with its frame rate", server)
        return "video"
    log.info("payload: auto: the server is %s, so frames travel as images: a video model sees pictures", server)
    return "images"


def server_kind(params: ChatParams, memory: Path) -> str | None:
    """What the server is, with its version where it tells one.

    If the server does not answer, the file `memory` says what it was; None where it is not in there.
    """
    name = f"{params.base_url} {params.model}"
    remembered: dict[str, str] = read_json(memory) if memory.exists() else {}
    server = asyncio.run(_server(params)) or remembered.get(name)
    if server and remembered.get(name) != server:
        write_json(memory, remembered | {name: server})
    return server


async def _server(params: ChatParams) -> str | None:
    """The name of the server, or None when it does not answer."""
    url = chat_url(params.base_url)
    key = read_key(params.api_key_env)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    parts = urlsplit(url)
    async with aclosing(AioHttpClient(ssl_context(params.ca_file))) as client:
        version = await _get(client, f"{parts.scheme}://{parts.netloc}/version", {})
        if version and isinstance(version.get("version"), str):
            return f"vLLM {version['version']}"
        models = await _get(client, url.removesuffix(ENDPOINT) + "/models", headers)
    match models:
        case {"data": [{"owned_by": "vllm"}, *_]}:
            return "vLLM"
        case {"data": [{"owned_by": str(owner)}, *_]}:
            return f"of {owner}"
        case None:
            return None
        case _:
            return "unknown"


async def _get(client: httpx2.AsyncClient, url: str, headers: Mapping[str, str]) -> dict[str, object] | None:
    """The JSON object at an address.

    Empty when there is none, None when no server answers.
    """
    try:
        async with asyncio.timeout(SECONDS):
            response = await client.send(httpx2.Request("GET", url, headers=dict(headers)))
    except (httpx2.TransportError, TimeoutError) as error:
        if isinstance(error.__cause__, aiohttp.ClientSSLError):
            raise UserError(tls_advice(url, str(error))) from None
        return None
    try:
        found = orjson.loads(response.content) if response.status_code == httpx2.codes.OK else {}
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
