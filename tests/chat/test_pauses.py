"""Pauses that a server asks for."""

import time
from email.utils import formatdate

import pytest

from stages.chat import pauses
from tests.chat.asking import ask, params, request
from tests.fault_server import Fault, fault_server, raw


def seconds_between(fault: Fault) -> float:
    """Seconds between a first attempt that fails and the second one."""
    with fault_server(lambda text, attempt: fault if attempt == 1 else "ok") as server:
        assert ask(params(server.url), request())[0].status == "ok"
        first, second = server.calls
    return second.started - first.started


def test_a_pause_is_kept() -> None:
    assert 0.4 <= seconds_between("429 after 0.4") < 2
    assert 0.4 <= seconds_between(raw({}, 429, retry_after_ms="400", Retry_After="30")) < 2


def test_no_pause_is_longer_than_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pauses, "LONGEST_PAUSE", 0.2)
    for told in ("1e9", "inf", "9" * 400, formatdate(time.time() + 10**9, usegmt=True)):
        assert 0.2 <= seconds_between(f"503 after {told}") < 2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after-ms": "?", "retry-after": "7"}, 7.0),
        ({"retry-after": "-1"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Wed, 99 Nov 2026 99:99:99 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({}, None),
    ],
)
def test_headers_are_read_in_each_form(headers: dict[str, str], seconds: float | None) -> None:
    assert pauses.told_pause(headers) == seconds


def test_a_date_is_read_from_now_on() -> None:
    told = {"retry-after": formatdate(time.time() + 100, usegmt=True)}
    assert pauses.told_pause(told) == pytest.approx(100, abs=2)
