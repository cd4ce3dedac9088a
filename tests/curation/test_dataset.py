"""The dataset folder, read by `datasets` and uploaded to a local hub."""

import json
import threading
from base64 import b64decode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard, constants

from stages.curation.dataset import push_to_hub, write_dataset
from stages.curation.params import RuleParams
from stages.data.sample import Sample, write_samples
from stages.run.errors import UserError
from stages.run.files import sha256_file

SAMPLE = Sample(
    sample_id="s1",
    source="shapes",
    data_type="video",
    problem_type="multiple choice",
    problem="Which way? | left",
    options=("A. left", "B. right"),
    answer="A",
    process="<think>it goes left</think>",
    media_path="a.mp4",
    media_sha256="aa",
    licence="CC0-1.0",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dataset of two SFT samples and one RL sample."""
    other = SAMPLE.model_copy(update={"sample_id": "s2", "source": "mine", "data_type": "image", "licence": ""})
    write_samples(tmp_path / "sft.parquet", [SAMPLE, other])
    write_samples(tmp_path / "rl.parquet", [SAMPLE.model_copy(update={"process": None})])
    sets = {name: tmp_path / f"{name}.parquet" for name in ("sft", "rl")}
    write_dataset(tmp_path / "dataset", sets, [tmp_path / "rl.parquet"], RuleParams(min_tokens=7))
    return tmp_path / "dataset"


def test_load_dataset_reads_every_row_back(folder: Path, tmp_path: Path) -> None:
    for name in ("sft", "rl"):
        rows = load_dataset(str(folder), name, split="train", cache_dir=str(tmp_path / "cache")).to_list()
        assert rows == pq.read_table(tmp_path / f"{name}.parquet").to_pylist()


def test_the_card_names_counts_composition_licences_hashes_and_parameters(folder: Path, tmp_path: Path) -> None:
    card = DatasetCard.load(folder / "README.md")
    assert [config["config_name"] for config in card.data.to_dict()["configs"]] == ["sft", "rl"]
    lines = card.text.splitlines()
    assert "| sft | 2 |" in lines
    assert "| sft | mine | image | multiple choice | 1 |" in lines
    assert "| mine | not stated |" in lines
    assert "| shapes | CC0-1.0 |" in lines
    assert f"| sft.parquet | {sha256_file(tmp_path / 'sft.parquet')} |" in lines
    assert f"| made from rl.parquet | {sha256_file(tmp_path / 'rl.parquet')} |" in lines
    assert '  "min_tokens": 7,' in lines


def test_equal_sets_give_equal_bytes_and_an_empty_set_is_left_out(folder: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    sets = {name: tmp_path / f"{name}.parquet" for name in ("sft", "rl")}
    write_dataset(folder, sets, [tmp_path / "rl.parquet"], RuleParams(min_tokens=7))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    write_samples(tmp_path / "rl.parquet", [])
    write_dataset(folder, sets, [], RuleParams())
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "sft.parquet"]


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's protocol that a small upload needs."""

    created: dict[str, Any]
    files: dict[str, bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            self.created.update(json.loads(body))
            self.answer({"url": "http://127.0.0.1/datasets/me/curated"})
        elif self.path.endswith("/preupload/main"):
            paths = [file["path"] for file in json.loads(body)["files"]]
            self.answer({"files": [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in paths]})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif self.path.endswith("/commit/main"):
            parts = [json.loads(line) for line in body.splitlines()]
            self.files.update(
                {part["value"]["path"]: b64decode(part["value"]["content"]) for part in parts if part["key"] == "file"}
            )
            self.answer(
                {"commitUrl": "http://127.0.0.1/datasets/me/curated/commit/0", "commitOid": "0" * 40, "success": True}
            )

    def do_GET(self) -> None:
        self.answer({"id": "me/curated", "sha": "0" * 40, "siblings": []})

    def answer(self, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    handler = type("OneHub", (Hub,), {"created": {}, "files": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield handler
    server.shutdown()
    server.server_close()


def test_an_upload_is_private_and_holds_the_whole_folder(folder: Path, hub: type[Hub]) -> None:
    push_to_hub(folder, "me/curated")
    assert hub.created == {"name": "curated", "organization": "me", "type": "dataset", "visibility": "private"}
    assert hub.files == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_hub_that_is_not_there_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    with pytest.raises(UserError, match="is written, but not uploaded to 'me/curated'"):
        push_to_hub(folder, "me/curated")


@pytest.mark.parametrize(
    ("licence", "cell"),
    [
        ("a | b", r"a \| b"),
        ("a \\| b", r"a \\\| b"),
        ("<script>x</script>", r"\<script\>x\</script\>"),
        ("[x](javascript:y)", r"\[x\](javascript:y)"),
        ("a\n---\nlicense: mit", r"a\\n---\\nlicense: mit"),
        ("\u202e\x1b", r"\\u202e\\x1b"),
    ],
)
def test_a_text_of_the_card_is_no_markup(tmp_path: Path, licence: str, cell: str) -> None:
    write_samples(tmp_path / "sft.parquet", [SAMPLE.model_copy(update={"licence": licence})])
    write_dataset(tmp_path / "dataset", {"sft": tmp_path / "sft.parquet"}, [], RuleParams())
    assert f"| shapes | {cell} |" in DatasetCard.load(tmp_path / "dataset" / "README.md").text.splitlines()
