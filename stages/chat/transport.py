"""How requests travel: over aiohttp, straight to the configured server."""

from functools import lru_cache
from typing import Any

import aiohttp
import httpx2

# uvicorn, under vLLM and most others, closes a connection after 5 s and would lose a request sent at that moment.
KEEP_ALIVE_S = 4.0


class AioHttpClient(httpx2.AsyncClient):
    """An HTTP client for `openai.AsyncOpenAI` at half the usual CPU time.

    It follows no redirects, keeps no cookies and reads neither proxy variables nor .netrc: frames and key go to
    base_url alone. It sets no time limit. Make it inside a running event loop. `httpx2.TransportError` when no whole response
    comes, with aiohttp's error as its cause.
    """

    def __init__(self) -> None:
        ssl = httpx2.create_ssl_context(trust_env=False)
        super().__init__(verify=ssl, timeout=None, trust_env=False)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S, ssl=ssl),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),
            headers={"Accept-Encoding": "gzip, deflate"},
            auto_decompress=False,  # httpx2.Response does
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
        """The whole response."""
        headers = request.headers.multi_items()
        post = self._session.request(
            request.method, str(request.url), data=request.read(), headers=headers, allow_redirects=False
        )
        try:
            async with post as answer:
                content = await answer.read()
        except aiohttp.ClientError as error:
            raise httpx2.TransportError(str(error), request=request) from error
        return httpx2.Response(answer.status, headers=answer.raw_headers, content=content, request=request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()
        await super().aclose()


_parsed = lru_cache(maxsize=4)(httpx2.URL)
