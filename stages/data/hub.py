"""Rows of a dataset, from the hub or from a local folder."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from stages.run.errors import UserError


def read_hub(
    name: str, folder: Path, config: str | None, split: str, revision: str | None
) -> Iterator[Mapping[str, object]]:
    """The rows of one split, one at a time.

    Media is not decoded: its cells are `{"path": …, "bytes": …}`. Where `folder` exists, it holds the dataset: Parquet,
    Arrow, JSON or CSV files, an imagefolder or videofolder, or the output of `save_to_disk`. Otherwise the dataset
    `name` is read from the hub. No code of a dataset is run. UserError when the dataset cannot be read.
    """
    # imported here, because the import takes a second and few sources need it
    from datasets import DatasetDict, IterableDataset, load_dataset, load_from_disk
    from datasets.exceptions import DatasetsError

    try:
        if any((folder / marker).exists() for marker in ("state.json", "dataset_dict.json")):
            saved = load_from_disk(str(folder))
            dataset = (saved[split] if isinstance(saved, DatasetDict) else saved).to_iterable_dataset()
        else:
            dataset = load_dataset(
                str(folder.absolute()) if folder.is_dir() else name,
                config,
                split=split,
                revision=revision,
                streaming=True,
            )
        assert isinstance(dataset, IterableDataset)
        yield from dataset.decode(False)
    except (DatasetsError, OSError, ValueError, KeyError) as error:  # also midway, from a damaged file
        message = " ".join(str(error).split())
        raise UserError(
            f"source {name}: {message}; correct its files, or its `hub`, `config` or `hub_split` in params.yaml"
        ) from None
