"""Serves the folder of the report on loopback, and nothing else.

    python -m flows.report_server --port 4201

There is no listing, no link leads outside the folder, and a request has to name this machine: a page that resolves its
own host name to 127.0.0.1 gets nothing.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from flows.port import port_number

HOST = "127.0.0.1"
NAMES = {HOST, "localhost"}


class ReportHandler(SimpleHTTPRequestHandler):
    """Answers requests for files of its folder."""

    def send_head(self) -> "BytesIO | BinaryIO | None":
        """The file of a request.

        A foreign host or a path that leads outside gets an error.
        """
        if (self.headers.get("host") or "").rpartition(":")[0] not in NAMES:
            self.send_error(HTTPStatus.BAD_REQUEST, "Invalid host header")
            return None
        folder = Path(self.directory).resolve()
        if not Path(self.translate_path(self.path)).resolve().is_relative_to(folder):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def list_directory(self, path: "str | os.PathLike[str]") -> None:
        """No listing of a folder."""
        self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: object) -> None:
        """No line per request."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serves until it is ended."""
    parser = argparse.ArgumentParser("python -m flows.report_server", description="Serve the report on loopback.")
    parser.add_argument("--port", type=port_number, required=True)
    port = parser.parse_args(arguments).port
    with ThreadingHTTPServer((HOST, port), partial(ReportHandler, directory="report")) as server:
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
