"""Chat templates of model folders, rendered in a process with limits.

A template is a program of a stranger. This file is also the program of that process: it reads a request in JSON and
writes the text.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

SECONDS = 5  # of CPU time for one text
MEMORY = 1 << 30  # bytes
LONGEST = 1 << 20  # characters; the templates of the supported families write some hundred
PATIENCE = 600  # seconds on the clock, for a process that waits for something
KEPT = ("PATH", "HOME", "LD_LIBRARY_PATH", "PYTHONPATH")  # variables; no key is among them


class BadTemplate(Exception):
    """Why a template gives no text, in one line."""


def render(tokenizer: Any, messages: Sequence[dict[str, Any]]) -> str:
    """Messages as text by the chat template, up to the assistant's turn.

    BadTemplate when the template fails, or needs too much time, memory or text.
    """
    if not isinstance(tokenizer.chat_template, str):
        raise BadTemplate("it is no text")
    request = {"template": tokenizer.chat_template, "messages": messages, "tokens": tokenizer.special_tokens_map}
    return _rendered(json.dumps(request))


@lru_cache(maxsize=16)
def _rendered(request: str) -> str:
    env = {name: os.environ[name] for name in KEPT if name in os.environ}
    command = [sys.executable, "-P", str(Path(__file__).absolute())]
    try:
        done = subprocess.run(
            command, input=request.encode(), capture_output=True, env=env, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise BadTemplate(f"it takes more than {PATIENCE} s") from None
    if done.returncode < 0:
        raise BadTemplate(f"it takes more than {SECONDS} s of CPU time")
    if done.returncode:
        raise BadTemplate(done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300])
    return done.stdout.decode()


def main() -> None:
    """Render one request.

    After a failure the last line of stderr is its reason.
    """
    # imported here: the stages need none of it, and in the process it comes before the limits
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    request = json.load(sys.stdin)
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    try:
        [text], _ = render_jinja_template(
            [request["messages"]],
            chat_template=request["template"],
            add_generation_prompt=True,
            **request["tokens"],
        )
    except MemoryError:
        sys.exit(f"it takes more than {MEMORY >> 20} MiB of memory")
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
    if len(text) > LONGEST:
        sys.exit(f"it writes more than {LONGEST:,} characters")
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))


if __name__ == "__main__":
    main()
