"""The chat client's requests per second, against AsyncOpenAI.

    python -m speed.chat_client [REQUESTS]

64 requests are in flight, and the server's latency is 50 ms. The server is a process of its own on loopback, and has a
core of its own where there are two: a real one is another machine, but the kernel likes to put both ends of a loopback
connection on one core, where each waits for the other. The last line is JSON. `of_limit` is the share of concurrency ÷
latency. `server_ms` is the mean time from the last byte of a request to its answer, as the server took it.
"""

import asyncio
import json
import logging
import multiprocessing
import os
import resource
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import cast

import openai
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

from speed.arguments import parser
from stages.chat.ask_all import ask_all
from stages.chat.client import ChatClient
from stages.chat.parameters import ChatParams
from stages.chat.request import ChatSampling, Request

log = logging.getLogger(__name__)

CONCURRENCY, LATENCY_S = 64, 0.05
PICTURES = tuple(os.urandom(1500) for _ in range(8))
MESSAGE = {"role": "assistant", "content": "<think>it moves left</think>\n<answer>A</answer>"}
BODY = json.dumps(
    {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }
).encode()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, taken: list[float]) -> None:
    """Answer every request of one connection after the latency.

    `taken` gets the seconds of each.
    """
    while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        start = time.perf_counter()
        await asyncio.sleep(LATENCY_S)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
        )
        taken.append(time.perf_counter() - start)


def serve(connection: Connection) -> None:
    """Run the server and send its port.

    For each message that comes, send the mean seconds per request since the last one.
    """
    taken: list[float] = []

    def report() -> None:
        connection.recv()
        connection.send(sum(taken) / len(taken))
        taken.clear()

    async def main() -> None:
        server = await asyncio.start_server(
            lambda reader, writer: answer(reader, writer, taken), "127.0.0.1", 0, limit=2**20
        )
        asyncio.get_running_loop().add_reader(connection.fileno(), report)
        connection.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    pin(1)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # clients that leave in mid-connection
    asyncio.run(main())


def pin(index: int) -> None:
    """Keep this process on one core, where there are two."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[index]})


def requests(count: int) -> Iterator[Request]:
    """Distinct requests of 8 small frames, made one at a time."""
    for number in range(count):
        yield Request("m", f"question {number}", PICTURES, "video", "images", ChatSampling(1.0, 0.95, 512))


async def project(url: str, count: int) -> None:
    """Ask through the project's client."""
    params = ChatParams(base_url=url, model="m", concurrency=CONCURRENCY)
    async with ChatClient(params) as client:
        async for batch in ask_all(client, without_estimate(count), CONCURRENCY):
            assert all(reply.status == "ok" for _, reply in batch)


def without_estimate(count: int) -> Iterator[Request]:
    """The requests with a fixed estimate of their prompts.

    The frames are random bytes without a size to read.
    """
    for request in requests(count):
        request.__dict__["prompt_estimate"] = 100
        yield request


async def gather(url: str, count: int) -> None:
    """Ask through AsyncOpenAI, all tasks at once behind a semaphore."""
    gate = asyncio.Semaphore(CONCURRENCY)
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

        async def ask(request: Request) -> None:
            async with gate:
                await client.chat.completions.create(**typed(request))

        await asyncio.gather(*(ask(request) for request in requests(count)))


async def loop(url: str, count: int) -> None:
    """Ask through AsyncOpenAI, one request after the other."""
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        for request in requests(count):
            await client.chat.completions.create(**typed(request))


def typed(request: Request) -> CompletionCreateParamsNonStreaming:
    """The request's body as the parameters of the `openai` package."""
    return cast(CompletionCreateParamsNonStreaming, request.body())


def server_seconds(connection: Connection) -> float:
    """The server's mean seconds per request since the last call."""
    connection.send("?")
    return connection.recv()


def main() -> None:
    """Measure the three and log the result as JSON."""
    arguments = parser(__doc__)
    arguments.add_argument("requests", nargs="?", type=int, default=4000)
    count: int = arguments.parse_args().requests
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    pin(0)
    url = f"http://127.0.0.1:{ours.recv()}/v1"
    result: dict[str, float] = {"limit_per_s": CONCURRENCY / LATENCY_S}
    asyncio.run(project(url, 200))
    server_seconds(ours)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, run, number in (("project", project, count), ("gather", gather, 1000), ("loop", loop, 40)):
        start, cpu = time.perf_counter(), time.process_time()
        asyncio.run(run(url, number))
        result[f"{name}_per_s"] = round(number / (time.perf_counter() - start), 1)
        result[f"{name}_cpu_ms"] = round((time.process_time() - cpu) / number * 1000, 2)
        if name == "project":
            result["server_ms"] = round(server_seconds(ours) * 1000, 2)
            result["memory_growth_mb"] = round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1)
    server.terminate()
    result["of_limit"] = round(result["project_per_s"] / result["limit_per_s"], 3)
    result["ratio_to_gather"] = round(result["project_per_s"] / result["gather_per_s"], 2)
    log.info(json.dumps(result))


if __name__ == "__main__":
    main()
