"""How requests travel: over aiohttp, straight to the configured server."""

import ssl
import zlib
from functools import lru_cache
from typing import Any

import aiohttp
import httpx2

# uvicorn, under vLLM and most others, closes a connection after 5 s and would lose a request sent at that moment.
KEEP_ALIVE_S = 4.0
LARGEST_ANSWER = 16 * 2**20
"""Bytes of an answer, before and after decompression."""

_WINDOWS = {"gzip": (zlib.MAX_WBITS | 16,), "deflate": (zlib.MAX_WBITS, -zlib.MAX_WBITS)}
"""By encoding, the zlib formats to try: servers send deflate with and without zlib's frame."""


class UnreadableAnswer(httpx2.TransportError):
    """An answer that is too large or in another encoding.

    The next answer would be the same, so nothing is asked again.
    """


class AioHttpClient(httpx2.AsyncClient):
    """An HTTP client for `openai.AsyncOpenAI` at half the usual CPU time.

    It follows no redirects, keeps no cookies and reads neither proxy variables nor .netrc: frames and key go to
    base_url alone. It sets no time limit. Make it inside a running event loop. `httpx2.TransportError` when no whole
    answer comes, with aiohttp's error as its cause.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(verify=context, timeout=None, trust_env=False)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S, ssl=context),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),
            headers={"Accept-Encoding": ", ".join(_WINDOWS)},
            auto_decompress=False,  # aiohttp sets no limit on the unpacked bytes
        )

    def build_request(
        self,
        method: str,
        url: httpx2.URL | str,
        *,
        headers: Any = None,
        content: Any = None,
        **_: object,
    ) -> httpx2.Request:
        """The request as `openai` gives it.

        Its address and headers are whole, so nothing is merged or parsed again.
        """
        return httpx2.Request(method, _parsed(url), headers=headers, stream=httpx2.ByteStream(content or b""))

    async def send(self, request: httpx2.Request, **_: object) -> httpx2.Response:
        """The whole response, decompressed."""
        headers = request.headers.multi_items()
        post = self._session.request(
            request.method, str(request.url), data=request.read(), headers=headers, allow_redirects=False
        )
        try:
            async with post as answer:
                content = await _read(answer)
        except aiohttp.ClientError as error:
            raise httpx2.TransportError(str(error), request=request) from error
        kept = [(name, value) for name, value in answer.raw_headers if name.lower() != b"content-encoding"]
        return httpx2.Response(answer.status, headers=kept, content=content, request=request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()
        await super().aclose()


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """The body, decompressed."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in answer.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > LARGEST_ANSWER:
            answer.close()
            raise UnreadableAnswer(f"the answer has more than {LARGEST_ANSWER:,} bytes")
    return decompressed(b"".join(chunks), answer.headers.get("Content-Encoding", ""))


def decompressed(data: bytes, encoding: str) -> bytes:
    """The bytes behind one Content-Encoding.

    UnreadableAnswer when there are too many bytes, or when the encoding was not asked for.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return data
    if name not in _WINDOWS:
        raise UnreadableAnswer(f"the answer has the Content-Encoding '{encoding[:40]}', which was not asked for")
    for window in _WINDOWS[name]:
        inflater = zlib.decompressobj(window)
        try:
            plain = inflater.decompress(data, LARGEST_ANSWER)
        except zlib.error:
            continue
        if inflater.unconsumed_tail:
            raise UnreadableAnswer(f"the answer has more than {LARGEST_ANSWER:,} bytes when decompressed")
        if inflater.eof:
            return plain
    raise httpx2.TransportError(f"the answer is damaged {name}")


_parsed = lru_cache(maxsize=4)(httpx2.URL)
