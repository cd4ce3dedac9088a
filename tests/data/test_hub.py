"""Dataset folders.

What is read of them, and what their cards cannot make us read.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from stages.data.hub import read_hub
from stages.run.errors import UserError

ROWS = [{"problem": "Which?", "solution": "left"}, {"problem": "What?", "solution": "right"}]
SECRET = "the secret"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the dataset beside a secret.

    The library's cache has a folder of its own.
    """
    (tmp_path / "data").mkdir()
    (tmp_path / "secret.json").write_text(json.dumps([{"problem": SECRET}]))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path


def read(root: Path, config: str | None = None, split: str = "train") -> list[dict[str, Any]]:
    return [dict(row) for row in read_hub("data", root / "data", config, split, None)]


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl", "parquet"])
def test_plain_tables_of_every_kind_are_read_by_split(root: Path, kind: str) -> None:
    for split, rows in (("train", ROWS), ("test", ROWS[:1])):
        dataset, path = Dataset.from_list(rows), root / "data" / f"{split}.{kind}"
        write = {"csv": dataset.to_csv, "parquet": dataset.to_parquet}.get(kind, dataset.to_json)
        write(path)
    assert read(root) == ROWS
    assert read(root, split="test") == ROWS[:1]
    with pytest.raises(UserError, match="no split 'validation'; it has train, test"):
        read(root, split="validation")


def test_the_configurations_of_a_card_choose_files_of_the_folder(root: Path) -> None:
    for name in ("sft", "rl"):
        Dataset.from_list([{"problem": name}]).to_parquet(root / "data" / f"{name}.parquet")
    card = "---\nconfigs:\n- config_name: sft\n  data_files: sft.parquet\n- config_name: rl\n  data_files:\n"
    card += "  - split: train\n    path: [rl.parquet]\n---\n"
    (root / "data" / "README.md").write_text(card)
    assert read(root, "rl") == [{"problem": "rl"}]
    assert read(root, "sft") == [{"problem": "sft"}] == read(root)
    with pytest.raises(UserError, match="no configuration 'eval'; it has sft, rl"):
        read(root, "eval")
    (root / "data" / "deep").mkdir()
    Dataset.from_list(ROWS).to_json(root / "data" / "deep" / "a.json")
    (root / "data" / "README.md").write_text("---\nconfigs:\n- config_name: deep\n  data_dir: deep\n---\n")
    assert read(root, "deep") == ROWS


@pytest.mark.parametrize(
    "pattern",
    [
        *("{root}/secret.json", "../secret.json", "x/../../secret.json", "file://{root}/secret.json"),
        *("*/../../secret.json", "http://127.0.0.1:9/secret.json", "zip://a.json::http://127.0.0.1:9/x.zip"),
        "hf://datasets/me/it/a.json",
    ],
)
@pytest.mark.parametrize("form", ["{}", "[{}]", "[{{split: train, path: {}}}]"])
def test_a_card_cannot_name_a_file_elsewhere(root: Path, pattern: str, form: str) -> None:
    Dataset.from_list(ROWS).to_json(root / "data" / "train.json")
    named = json.dumps(pattern.format(root=root))
    for text in (f"data_files: {form.format(named)}", f"data_dir: {named}"):
        (root / "data" / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  {text}\n---\n")
        with pytest.raises(UserError, match=r"its README\.md names .*, which is no file of the folder"):
            read(root)


@pytest.mark.parametrize(
    "front",
    [
        *("configs: {", "configs: 5", "configs: [5]", "configs: [{config_name: [x]}]", "configs: &a [*a]"),
        *("configs: [{data_files: {train: [5]}}]", "configs: [{data_dir: [x]}]", "configs: [{data_files: [[x]]}]"),
    ],
)
def test_a_card_in_another_form_is_one_line(root: Path, front: str) -> None:
    Dataset.from_list(ROWS).to_json(root / "data" / "train.json")
    (root / "data" / "README.md").write_text(f"---\n{front}\n---\n")
    with pytest.raises(UserError) as error:
        read(root)
    assert "\n" not in str(error.value)


def test_a_yaml_file_beside_the_card_has_no_say(root: Path) -> None:
    Dataset.from_list(ROWS).to_json(root / "data" / "train.json")
    (root / "data" / ".huggingface.yaml").write_text(
        f"configs:\n- config_name: default\n  data_files: {root}/secret.json\n"
    )
    assert read(root) == ROWS


def test_a_link_cannot_lead_out_of_the_folder(root: Path) -> None:
    (root / "data" / "train.json").symlink_to(root / "secret.json")
    with pytest.raises(UserError, match=r"train\.json leads out of"):
        read(root)


def test_a_saved_dataset_cannot_name_a_file_elsewhere(root: Path) -> None:
    Dataset.from_list([{"problem": SECRET}]).save_to_disk(root / "other")
    Dataset.from_list(ROWS).save_to_disk(root / "data")
    assert read(root) == ROWS
    state = json.loads((root / "data" / "state.json").read_text())
    for named in ("../other/data-00000-of-00001.arrow", str(root / "other" / "data-00000-of-00001.arrow")):
        state["_data_files"] = [{"filename": named}]
        (root / "data" / "state.json").write_text(json.dumps(state))
        with pytest.raises(UserError, match=r"data-00000-of-00001\.arrow leads out of"):
            read(root)


def test_the_splits_of_a_saved_dataset_lie_in_its_folder(root: Path) -> None:
    Dataset.from_list([{"problem": SECRET}]).save_to_disk(root / "other")
    DatasetDict({"train": Dataset.from_list(ROWS)}).save_to_disk(root / "data")
    assert read(root) == ROWS
    (root / "data" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", os.path.join("..", "other")]}))
    with pytest.raises(UserError, match="other leads out of"):
        read(root, split="../other")
