"""Prefect's server, closed to web pages and other users.

    python -m flows.server_app --port 4200 [--temporary]

A page in a browser can send requests to loopback. So the server wants a key (PREFECT_SERVER_API_AUTH_STRING), allows
no other origin (PREFECT_SERVER_CORS_ALLOWED_ORIGINS) and answers to its own name only: a page that resolves its own
host name to 127.0.0.1 gets nothing. `flows.server` sets the variables.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import uvicorn
from prefect.server.api.server import create_app
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from flows.port import port_number

HOST = "127.0.0.1"
NAMES = [HOST, "localhost"]
# The key stands behind the # of the address, which a browser sends to nobody. The UI reads it from localStorage.
LOGIN = """<!doctype html><title>Log in</title>
<script>
const key = decodeURIComponent(location.hash.slice(1));
if (key) localStorage.setItem("prefect-password", btoa(key));
location.replace("/");
</script>
"""


def secure_app(temporary: bool) -> ASGIApp:
    """The server's application, with a check of hosts and a login page.

    The check lies around the application: the server's own services call it from inside, under a name of their own.
    """
    app = create_app(ephemeral=temporary, final=True)
    app.router.routes.insert(0, Route("/login", login))
    return TrustedHostMiddleware(app, allowed_hosts=NAMES)


def login(request: Request) -> HTMLResponse:
    """The page that stores the key and goes on to the UI."""
    return HTMLResponse(LOGIN, headers={"cache-control": "no-store"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser("python -m flows.server_app", description="Run Prefect's server on loopback.")
    parser.add_argument("--port", type=port_number, required=True)
    parser.add_argument(
        "--temporary", action="store_true", help="for one run from the command line: no UI, no schedules"
    )
    options = parser.parse_args(arguments)
    if not os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        sys.exit("the server has no key: start it with `make ui`, or set PREFECT_SERVER_API_AUTH_STRING")
    level = "error" if options.temporary else "warning"
    uvicorn.run(secure_app(options.temporary), host=HOST, port=options.port, log_level=level)
    return 0


if __name__ == "__main__":
    sys.exit(main())
