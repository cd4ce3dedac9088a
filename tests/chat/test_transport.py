"""Sizes, encodings, addresses and certificates."""

import datetime
import gzip
import ipaddress
import json
import ssl
import time
import zlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stages.chat.address import chat_url
from stages.chat.transport import LARGEST_ANSWER
from stages.run.errors import UserError
from tests.chat.asking import ask, params, request
from tests.fault_server import THOUGHT, Raw, completion, fault_server

BODY = json.dumps(completion()).encode()
RAW_DEFLATE = zlib.compressobj(wbits=-15)
DEFLATED = RAW_DEFLATE.compress(BODY) + RAW_DEFLATE.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(BODY)),
        ("GZIP", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", DEFLATED),
    ],
)
def test_an_answer_is_decompressed(encoding: str, body: bytes) -> None:
    with fault_server(lambda text, attempt: Raw(body, headers={"Content-Encoding": encoding})) as server:
        assert ask(params(server.url), request())[0].text == THOUGHT


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Raw(b" " * (LARGEST_ANSWER + 1)), "more than 16,777,216 bytes"),
        (Raw(b" " * 2**20, endless=True), "more than 16,777,216 bytes"),
        (
            Raw(gzip.compress(bytes(2**26), 1), headers={"Content-Encoding": "gzip"}),
            "more than 16,777,216 bytes when decompressed",
        ),
        (Raw(gzip.compress(gzip.compress(BODY)), headers={"Content-Encoding": "gzip, gzip"}), "'gzip, gzip'"),
        (Raw(BODY, headers={"Content-Encoding": "br"}), "'br', which was not asked for"),
    ],
    ids=["long", "endless", "bomb", "twice", "br"],
)
def test_an_answer_that_is_too_large_or_encoded_otherwise_fails_at_once(fault: Raw, words: str) -> None:
    with fault_server(lambda text, attempt: fault) as server:
        begin = time.monotonic()
        [reply] = ask(params(server.url, timeout_s=20.0), request())
        assert time.monotonic() - begin < 10
        assert reply.status == "failed"
        assert words in reply.detail
        assert len(server.calls) == 1  # the next answer would be the same, and be paid for


def test_a_damaged_encoding_is_asked_again() -> None:
    damaged = Raw(gzip.compress(BODY)[:-9], headers={"Content-Encoding": "gzip"})
    with fault_server(lambda text, attempt: damaged if attempt == 1 else "ok") as server:
        assert ask(params(server.url), request())[0].text == THOUGHT


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("http://host:8000", "http://host:8000/v1/chat/completions"),
        ("http://host:8000/", "http://host:8000/v1/chat/completions"),
        ("https://host/v1", "https://host/v1/chat/completions"),
        ("https://host/v1/", "https://host/v1/chat/completions"),
        ("https://host/api/v3", "https://host/api/v3/chat/completions"),
        ("http://[::1]:8000", "http://[::1]:8000/v1/chat/completions"),
    ],
)
def test_an_address_is_completed(base_url: str, url: str) -> None:
    assert chat_url(base_url) == url


@pytest.mark.parametrize(
    ("base_url", "words"),
    [
        ("localhost:8000/v1", "write it as http://host:8000/v1"),
        ("localhost", "write it as http://host:8000/v1"),
        ("", "write it as http://host:8000/v1"),
        ("ftp://host/v1", "write it as http://host:8000/v1"),
        ("http://", "write it as http://host:8000/v1"),
        ("http://host:80a/v1", "write it as http://host:8000/v1"),
        ("http://host:99999/v1", "write it as http://host:8000/v1"),
        ("http://host:0/v1", "write it as http://host:8000/v1"),
        ("http://[::1/v1", "write it as http://host:8000/v1"),
        (" http://host/v1", "holds a space or a line break"),
        ("http://host/v1\n", "holds a space or a line break"),
        ("http://ho st/v1", "holds a space or a line break"),
        ("http://host/v1\u00a0", "holds a space or a line break"),
        ("http://me:secret@host/v1", "holds a user name or a password"),
        ("http://host/v1?key=1", r"holds a \? or a #"),
        ("http://host/v1#", r"holds a \? or a #"),
        ("http://host/v1/chat/completions", "is longer than"),
    ],
)
def test_what_is_no_address_is_refused_in_one_line(base_url: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        ask(params(base_url), request())
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_an_address_without_a_path_reaches_the_server() -> None:
    with fault_server() as server:
        assert ask(params(server.url.removesuffix("/v1")), request())[0].status == "ok"
        assert server.calls[0].path == "/v1/chat/completions"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test server")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(pem + signed.public_bytes(serialization.Encoding.PEM))
    return path


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_certificate_is_checked_with_the_named_file(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with fault_server(tls=server_side(certificate)) as server:
        with pytest.raises(UserError, match=r"no secure connection .*certificate.*ca_file"):
            ask(params(server.url), request())
        assert server.calls == []
        assert ask(params(server.url, ca_file=str(certificate)), request())[0].status == "ok"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert ask(params(server.url), request())[0].status == "ok"


def test_https_to_a_server_without_it_is_told_as_that() -> None:
    with fault_server() as server, pytest.raises(UserError, match=r"no secure connection .*write http://"):
        ask(params(server.url.replace("http:", "https:")), request())


def test_a_file_that_is_no_certificate_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    with pytest.raises(UserError, match=r"ca_file names .*empty.pem, which holds no certificate"):
        ask(params("https://127.0.0.1:9", ca_file=str(tmp_path / "empty.pem")), request())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(UserError, match=r"SSL_CERT_FILE names .*none.pem, which is no file"):
        ask(params("https://127.0.0.1:9"), request())
