"""Item 4 and its neighbours: dataset folders of strangers. Addresses and paths: tests/data/test_hub.py."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.data.hub import read_hub
from stages.data.record_files import read_records
from stages.run.errors import UserError
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("state.json", []),
        ("state.json", {"_data_files": 5}),
        ("state.json", {"_data_files": [{"filename": 5}], "_split": None}),
        ("dataset_dict.json", 5),
        ("dataset_dict.json", {"splits": 5}),
        ("dataset_dict.json", {"splits": [5]}),
    ],
)
def test_a_saved_dataset_of_another_form_is_one_line(tmp_path: Path, file: str, content: object) -> None:
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(UserError, match="source saved: ") as error:
        next(read_hub("saved", tmp_path, None, "train", None))
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_small_parquet_file_does_not_become_gigabytes(tmp_path: Path) -> None:
    """4 GB of rows that stand in half a megabyte: a dictionary of one text, and runs of its number."""
    rows = pa.DictionaryArray.from_arrays(pa.array(bytes(4_000_000), pa.int8()), ["x" * 1000])
    pq.write_table(
        pa.table({"problem": rows}), tmp_path / "train.parquet", store_schema=False, row_group_size=4_000_000
    )
    assert (tmp_path / "train.parquet").stat().st_size < 1_000_000
    program = (
        "import sys; from pathlib import Path; from stages.data.hub import read_hub; "
        "print(len(next(read_hub('d', Path(sys.argv[1]), None, 'train', None))['problem']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={"PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30)),
    )
    assert done.stdout == "1000\n", done.stderr[-500:]


def test_a_table_of_many_columns_is_read_in_linear_time(tmp_path: Path) -> None:
    """A quadratic check of the names took over a minute for these."""
    names = ",".join(f"c{number}" for number in range(200_000))
    (tmp_path / "wide.csv").write_text(f"{names}\n1,2\n")
    [(place, row)] = read_records(tmp_path / "wide.csv")
    assert (place, row) == ("row 1", {"c0": "1", "c1": "2"})
