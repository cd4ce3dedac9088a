import socket

import pytest

from stages.model import messages
from stages.model.messages import receive, send


def test_messages_come_one_by_one_until_the_other_process_ends() -> None:
    here, there = socket.socketpair()
    send(here, {"rank": 1})
    send(here, {"bye": True})
    here.close()
    assert [receive(there) for _ in range(3)] == [{"rank": 1}, {"bye": True}, None]
    send(there, {"lost": True})  # nobody is there any more


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\n", b"[1]\n", b"\xff\n", b"1" * 1000], ids=["words", "list", "bytes", "endless"]
)
def test_what_a_stranger_sends_is_no_message(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "MOST", 999)
    here, there = socket.socketpair()
    with here, there:
        here.send(sent)
        assert receive(there) is None
