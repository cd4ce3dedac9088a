"""The training sets as a Hugging Face dataset, with its card."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from pydantic import BaseModel

from stages.run.errors import UserError
from stages.run.files import iterate_rows, sha256_file, write_atomic
from stages.run.log import escaped

COMPOSITION = ("source", "data_type", "problem_type", "licence")
MARKUP = re.compile(r"[\\`*_\[\]<>&|~$]")
LICENCE_NOT_STATED = "not stated"


def write_dataset(folder: Path, sets: Mapping[str, Path], inputs: Sequence[Path], params: BaseModel) -> None:
    """Replace `folder` by a dataset: one configuration per set that has rows.

    The card holds counts, composition, licences, parameters, and the SHA-256 of the files and of `inputs`, from which
    the sets were made. Media files stay where they are: a row names its file by path and hash.
    """
    counted = {name: _count(path) for name, path in sets.items()}
    composition = {name: counts for name, counts in counted.items() if counts}
    staging = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    for name in composition:
        shutil.copyfile(sets[name], staging / f"{name}.parquet")
    hashes = {f"{name}.parquet": sha256_file(staging / f"{name}.parquet") for name in composition}
    hashes |= {f"made from {path.name}": sha256_file(path) for path in inputs}
    write_atomic(staging / "README.md", _card(composition, hashes, params))
    shutil.rmtree(folder, ignore_errors=True)
    staging.rename(folder)


def push_to_hub(folder: Path, name: str) -> None:
    """Upload the folder as the private dataset `name` ("owner/name").

    The hub's client takes the token from HF_TOKEN. UserError when the upload fails.
    """
    try:
        hub = HfApi()
        hub.create_repo(name, repo_type="dataset", private=True, exist_ok=True)
        hub.upload_folder(
            repo_id=name,
            repo_type="dataset",
            folder_path=folder,
            commit_message="Curated by the pipeline's filter stage",
        )
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, httpx2.HTTPError) as error:
        raise UserError(
            f"{folder} is written, but not uploaded to '{name}': {str(error).splitlines()[0]}; "
            "check HF_TOKEN and the name, then run the stage again"
        ) from error


def _count(path: Path) -> Counter[tuple[str, ...]]:
    """Samples of a set by source, data type, answer type and licence."""
    return Counter(tuple(row[key] for key in COMPOSITION) for row in iterate_rows(path, COMPOSITION))


def _card(composition: Mapping[str, Counter[tuple[str, ...]]], hashes: Mapping[str, str], params: BaseModel) -> str:
    front = "\n".join(f"- config_name: {name}\n  data_files: {name}.parquet" for name in composition)
    rows = [(name, *key, count) for name, counts in composition.items() for key, count in sorted(counts.items())]
    licences = sorted({(source, licence or LICENCE_NOT_STATED) for _, source, _, _, licence, _ in rows})
    return "\n\n".join(
        [
            f"---\nconfigs:\n{front}\nlicense: other\ntask_categories:\n- visual-question-answering\n---",
            "# Questions about videos and images, curated",
            "Each row is a question with its answer; in `sft`, `process` is a teacher's chain of thought. "
            "Media is not included: `media_path` and `media_sha256` name the file.",
            "## Counts",
            _table(("set", "samples"), [(name, counts.total()) for name, counts in composition.items()]),
            "## Composition",
            _table(("set", "source", "media", "answer type", "samples"), [(*row[:4], row[5]) for row in rows]),
            "## Licences",
            _table(("source", "licence"), licences),
            "## Files",
            _table(("file", "SHA-256"), list(hashes.items())),
            "## Parameters of the filter",
            f"```json\n{json.dumps(params.model_dump(mode='json'), indent=2, ensure_ascii=False)}\n```\n",
        ]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: object) -> str:
    """The text without meaning for Markdown or HTML."""
    return MARKUP.sub(r"\\\g<0>", escaped(str(value)))
