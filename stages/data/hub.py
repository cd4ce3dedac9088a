"""Rows of a dataset, from the hub or from a local folder.

A dataset's card may name files anywhere, also on other servers. Only files of the dataset itself are read: those of a
folder are listed here, and each lies in the folder by its real path.
"""

import glob
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.run.errors import UserError

if TYPE_CHECKING:
    from datasets import IterableDataset

Row = Mapping[str, object]

MODULES = ("parquet", "arrow", "json", "csv", "imagefolder", "videofolder")  # of the datasets library
# What libraries raise for a folder that they do not understand.
STRANGE = (OSError, ValueError, LookupError, TypeError, AttributeError, pa.ArrowException)
ROWS_AT_ONCE = 64  # of a Parquet file: half a megabyte of it can stand for gigabytes of rows
SAVED = ("state.json", "dataset_dict.json")  # mark what `save_to_disk` wrote


def read_hub(name: str, folder: Path, config: str | None, split: str, revision: str | None) -> Iterator[Row]:
    """The rows of one split, one at a time.

    Media is not decoded: its cells are `{"path": …, "bytes": …}`. Where `folder` exists, it holds the dataset: Parquet,
    Arrow, JSON or CSV files, an imagefolder or videofolder, or the output of `save_to_disk`. Otherwise the dataset
    `name` is read from the hub. No code of a dataset is run. UserError when the dataset cannot be read, or when it
    names a file that is not its own.
    """
    # imported here, because the import takes a second and few sources need it
    from datasets.exceptions import DatasetsError

    try:
        if any((folder / marker).is_file() for marker in SAVED):
            yield from _undecoded(_saved(folder, split))
        elif folder.is_dir():
            yield from _folder(folder, config, split)
        else:
            yield from _undecoded(_on_the_hub(name, config, split, revision))
    except (DatasetsError, *STRANGE) as error:  # also midway, from a damaged file
        message = " ".join(str(error).split())
        raise UserError(
            f"source {name}: {message}; correct its files, or its `hub`, `config` or `hub_split` in params.yaml"
        ) from None


def _saved(folder: Path, split: str) -> "IterableDataset":
    """What `save_to_disk` wrote; ValueError for a state that names files elsewhere."""
    from datasets import DatasetDict, load_from_disk

    for state in [*folder.glob("state.json"), *folder.glob("*/state.json")]:
        named = json.loads(state.read_text(encoding="utf-8"))["_data_files"]
        _check_inside(folder, [state, *(state.parent / file["filename"] for file in named)])
    if (folder / "dataset_dict.json").is_file():
        splits = json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        _check_inside(folder, [folder / each for each in splits])
    saved = load_from_disk(str(folder))
    return (saved[split] if isinstance(saved, DatasetDict) else saved).to_iterable_dataset()


def _folder(folder: Path, config: str | None, split: str) -> Iterable[Row]:
    """The rows of the files that a folder's card or names give."""
    from datasets import IterableDataset, load_dataset
    from datasets.data_files import DataFilesDict, get_data_patterns
    from datasets.load import infer_module_for_data_files

    base = str(folder.resolve())
    patterns = _card_patterns(folder, config) or get_data_patterns(base)
    found = DataFilesDict.from_patterns(patterns, base_path=base)
    if split not in found:
        raise ValueError(f"no split '{split}'; it has {', '.join(map(str, found)) or 'none'}")
    _check_inside(folder, map(Path, found[split]))
    module, options = infer_module_for_data_files(found, path=base)
    if module not in MODULES:
        raise ValueError(f"its files are of the kind {module}, not {', '.join(MODULES)}")
    if module == "parquet":
        return _parquet_rows(found[split])
    files = [glob.escape(file) for file in found[split]]
    dataset = load_dataset(module, data_files={split: files}, split=split, streaming=True, **options)
    assert isinstance(dataset, IterableDataset)
    return _undecoded(dataset)


def _parquet_rows(files: Iterable[str]) -> Iterator[Row]:
    """The rows of Parquet files.

    `datasets` would unpack a whole row group at once.
    """
    for path in files:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS_AT_ONCE):
                yield from batch.to_pylist()


def _undecoded(dataset: "IterableDataset") -> Iterable[Row]:
    """The rows, with media as `{"path": …, "bytes": …}`."""
    return dataset.decode(False) if dataset.features else dataset


def _on_the_hub(name: str, config: str | None, split: str, revision: str | None) -> "IterableDataset":
    """A dataset of the hub; ValueError when its card names files elsewhere."""
    from datasets import load_dataset_builder

    builder = load_dataset_builder(name, config, revision=revision)
    files = [str(file) for files in (builder.config.data_files or {}).values() for file in files]
    if stray := next((file for file in files if not file.startswith("hf://datasets/")), None):
        raise ValueError(f"its card names {stray}, which is no file of the dataset")
    dataset = builder.as_streaming_dataset(split=split)
    assert not isinstance(dataset, dict)
    return dataset


def _card_patterns(folder: Path, config: str | None) -> dict[str, list[str]] | None:
    """Patterns of files by split, as the card's configuration has them.

    None without configurations. ValueError for a pattern that leads out of the folder or to a server.
    """
    from datasets.data_files import sanitize_patterns

    configs = _card_configurations(folder)
    if not configs:
        if config is not None:
            raise ValueError(f"no configuration '{config}': the folder's README.md has none")
        return None
    chosen = configs.get(config or ("default" if "default" in configs else next(iter(configs))))
    if chosen is None:
        raise ValueError(f"no configuration '{config}'; it has {', '.join(configs)}")
    place = chosen.get("data_dir") or "."
    patterns = sanitize_patterns(chosen.get("data_files") or f"{place}/**")
    for pattern in [place, *(each for several in patterns.values() for each in several)]:
        if not isinstance(pattern, str):
            raise ValueError("its README.md names files in a form that is not known")
        if os.path.isabs(pattern) or ".." in Path(pattern).parts or "://" in pattern or "::" in pattern:
            raise ValueError(f"its README.md names '{pattern}', which is no file of the folder")
    return {str(name): list(several) for name, several in patterns.items()}


def _card_configurations(folder: Path) -> dict[str, dict[str, Any]]:
    """The configurations of the folder's card, by name."""
    from huggingface_hub import DatasetCard
    from yaml import YAMLError

    if not (folder / "README.md").is_file():
        return {}
    try:
        listed = DatasetCard.load(folder / "README.md").data.to_dict().get("configs") or []
    except YAMLError:
        raise ValueError("the front matter of its README.md is not valid YAML") from None
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise ValueError("the configurations in its README.md are no list of objects")
    names = [each.get("config_name", "default") for each in listed]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("a configuration in its README.md has no name")
    return dict(zip(names, listed, strict=True))


def _check_inside(folder: Path, files: Iterable[Path]) -> None:
    """ValueError for a file whose real path leaves the folder."""
    base = folder.resolve()
    for file in files:
        if not file.resolve().is_relative_to(base):
            raise ValueError(f"{file} leads out of {folder}")
