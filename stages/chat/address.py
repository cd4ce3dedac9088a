"""The server's address, its key and its certificates.

Checked before anything is sent.
"""

import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from stages.run.errors import UserError

ENDPOINT = "/chat/completions"


def chat_url(base_url: str) -> str:
    """The address to post to.

    UserError with one line when `base_url` is none.

    An address without a path gets /v1.
    """
    if base_url != base_url.strip() or any(not mark.isprintable() or mark == " " for mark in base_url):
        raise UserError(f"base_url {base_url!r} holds a space or a line break; remove it")
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError as error:
        raise UserError(f"base_url '{base_url}' is no address: {error}; write it as http://host:8000/v1") from None
    if "@" in parts.netloc:
        raise UserError(
            "base_url holds a user name or a password; put the key into an environment variable, "
            "name that in api_key_env, and write the address without it"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UserError(f"base_url '{base_url}' is no address of a server; write it as http://host:8000/v1")
    if parts.query or parts.fragment or "?" in base_url or "#" in base_url:
        raise UserError(f"base_url '{base_url}' holds a ? or a #; write only the address up to /v1")
    if parts.path.rstrip("/").endswith(ENDPOINT):
        raise UserError(f"base_url '{base_url}' is longer than the server's address; end it before {ENDPOINT}")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}{ENDPOINT}"


def read_key(variable: str | None) -> str | None:
    """The key in an environment variable.

    UserError when it is not there or cannot be sent.
    """
    if variable is None:
        return None
    key = os.environ.get(variable)
    if not key:
        raise UserError(
            f"the environment variable {variable}, named by api_key_env, is not set; "
            "export it or set api_key_env to null"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(
            f"the key in {variable} holds a space, a line break or a letter outside ASCII; export it without that"
        )
    return key


def ssl_context(ca_file: str | None) -> ssl.SSLContext:
    """How certificates are checked.

    By `ca_file`, by SSL_CERT_FILE, or by the usual authorities.

    UserError when the file is not there or holds no certificate.
    """
    path, name = (ca_file, "ca_file") if ca_file else (os.environ.get("SSL_CERT_FILE"), "SSL_CERT_FILE")
    if not path:
        return httpx2.create_ssl_context(trust_env=False)
    if not Path(path).is_file():
        raise UserError(f"{name} names {path}, which is no file; give it a PEM file of certificates")
    try:
        return ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise UserError(f"{name} names {path}, which holds no certificate in PEM: {error}") from None
