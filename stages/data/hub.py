"""Rows of a dataset as the `datasets` library reads it: from the hub by name, or from a local folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.run.errors import UserError


def read_hub(name: str, folder: Path, config: str | None, split: str, revision: str | None) -> Iterator[dict[str, Any]]:
    """The rows of one split, one at a time, with media undecoded: `{"path": …, "bytes": …}`.

    `folder`, where it exists, holds the dataset (Parquet, Arrow, JSON or CSV files, an imagefolder or videofolder, or
    what `save_to_disk` wrote); otherwise `name` is asked for on the hub. Nothing of a dataset is run. UserError when
    it cannot be read.
    """
    from datasets import (  # here, because it takes a second and few sources need it
        IterableDataset,
        load_dataset,
        load_from_disk,
    )
    from datasets.exceptions import DatasetsError

    try:
        if any((folder / marker).exists() for marker in ("state.json", "dataset_dict.json")):
            saved: Any = load_from_disk(str(folder))
            dataset = (saved[split] if isinstance(saved, dict) else saved).to_iterable_dataset()
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
            f"source {name}: {message}; mend its files, or its `hub`, `config` or `hub_split` in params.yaml"
        ) from None
