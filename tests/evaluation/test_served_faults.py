"""An evaluation through a server that misbehaves, as a process that is killed."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from stages.data.sample import write_rejects, write_samples
from stages.data.shards import ShardStore
from stages.run.files import write_table
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA
from tests import warm
from tests.evaluation.prepared import asked
from tests.fault_server import ODD_ANSWERS, PASSING, Fault, fault_server
from tests.model.tiny_models import clip
from tests.warm import Started

COUNT = 4 * len(PASSING)
FLAGS = "--benchmark shapes --data data --model served --name m --predictions p --metrics m.json"


def prepare(folder: Path) -> None:
    """A benchmark of COUNT questions about one clip."""
    samples = [asked(f"v{index}", "direction", f"question {index}?") for index in range(COUNT)]
    write_samples(folder / "data" / "samples.parquet", samples)
    write_rejects(folder / "data" / "quarantine.parquet", [])
    ShardStore(folder / "data" / "frames", SCHEMA).append([row_from_frames("clip", clip(), 95)])
    keys = [{"sample_id": sample.sample_id, "frame_key": "clip"} for sample in samples]
    write_table(folder / "data" / "frames.parquet", keys, FRAME_KEYS_SCHEMA)


def start(url: str) -> Started:
    server = {"base_url": url, "prompt": "plain", "payload": "images", "concurrency": 8, "timeout_s": 1.0}
    defaults = {"engine": "openai", "orders": ["ordered"], "server": server}
    Path("params.yaml").write_text(json.dumps({"evaluate": {"defaults": defaults, "shapes": {}}}))
    return warm.start("stages.evaluate", FLAGS.split(), Path.cwd())


def number_of(text: str) -> int:
    return int(text.split()[1].rstrip("?"))


def fault(text: str, attempt: int) -> Fault:
    """Every second question fails at first; every fourth answer is odd."""
    number = number_of(text)
    if number % 2:
        return PASSING[number // 2 % len(PASSING)] if attempt == 1 else "ok"
    return ODD_ANSWERS[number // 4 % len(ODD_ANSWERS)] if number % 4 else "ok"


@pytest.mark.integration
def test_kill_9_among_all_faults_loses_no_answer_and_asks_none_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("killed", "clean"):
        (tmp_path / place).mkdir()
        prepare(tmp_path / place)
    monkeypatch.chdir(tmp_path / "killed")
    with fault_server(fault, latency_s=0.02) as server:
        for share in (15, 35):
            process = start(server.url)
            while len(server.answered) < share:
                assert process.poll() is None
                time.sleep(0.005)
            process.kill()
        start(server.url).finish()
        calls = Counter(number_of(call.text) for call in server.calls)
        url = server.url
        # At most 10 answers each time were in flight, or about to be written, when the kill came.
        assert sum(calls.values()) <= COUNT * 3 // 2 + 2 * 10
        monkeypatch.chdir(tmp_path / "clean")
        server.attempts.clear()
        start(url).finish()
    for name in ("p", "m.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "clean" / name).read_bytes()
