"""Record files as people have them.

Encodings, tables, and what is said of other files.
"""

import json
import os
from pathlib import Path

import pytest

from stages.data.record_files import read_records
from stages.run.errors import UserError

RECORD = {"problem_id": 1, "problem": "球往哪个方向移动？ é", "options": ["A. left", "B. right"]}
ROWS = [("row 1", {"path": "a.mp4", "problem": "Which?", "options": "left|right"})]


def read(folder: Path, name: str, content: bytes | str) -> list[tuple[str, object]]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_records(path))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_json_is_read_in_every_unicode_encoding_with_or_without_a_mark(tmp_path: Path, encoding: str) -> None:
    array = json.dumps([RECORD, RECORD], ensure_ascii=False, indent=1)
    lines = "\r\n".join(json.dumps(RECORD, ensure_ascii=False) for _ in range(2))
    for text in (array, lines):
        records = read(tmp_path, "r.json", text.encode(encoding))
        assert [record for _, record in records] == [RECORD, RECORD]


@pytest.mark.parametrize(
    "text",
    [
        "path,problem,options\na.mp4,Which?,left|right\n",
        "path;problem;options\na.mp4;Which?;left|right\n",
        "path\tproblem\toptions\na.mp4\tWhich?\tleft|right\n",
        "sep=;\npath;problem;options\na.mp4;Which?;left|right\n",
        "\n path , problem , options \r\n a.mp4, Which?, left|right\r\n\r\n",
        '"path";"problem";"options"\r\n"a.mp4";"Which?";"left|right"\r\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_with_commas_semicolons_and_tabs_are_read(tmp_path: Path, text: str, encoding: str) -> None:
    assert read(tmp_path, "q.csv", text.encode(encoding)) == ROWS
    assert read(tmp_path, "q.tsv", text.encode(encoding)) == ROWS


def test_a_table_with_two_columns_of_one_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not readable as CSV \(after line 0: two columns are called 'options'\)"):
        read(tmp_path, "q.csv", "path,options,options\na.mp4,left,right\n")


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        ("问题,答案\n视频里的人在做什么,跑步\n", "gbk", "GBK"),
        ("path,problem\na.mp4,ボールはどちらに動きますか\n", "shift_jis", "Shift-JIS"),
        ("path,problem\na.mp4,球往哪個方向移動？,左|右\n", "big5", "Big5"),
        ("path,problem\na.mp4,공은 어느 방향으로 움직입니까?\n", "euc-kr", "EUC-KR"),
    ],
)
@pytest.mark.parametrize("file", ["q.csv", "q.jsonl"])
def test_another_encoding_is_named(tmp_path: Path, text: str, encoding: str, name: str, file: str) -> None:
    with pytest.raises(UserError, match=rf"not UTF-8 but probably {name}; convert it, .*iconv -f {name} -t UTF-8"):
        read(tmp_path, file, text.encode(encoding))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf \n", "the file is empty"),
        (b"\xff\xfe", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n", "a Git LFS pointer.*git lfs pull"),
        (b"\n<!DOCTYPE html>\n<html><body>404</body></html>", "an HTML page; download the file itself"),
        (b"<HTML><head>", "an HTML page"),
        (b"PAR1\x15\x04\x15", "a Parquet file"),
        (b"PK\x03\x04\x14\0", "a zip archive or an Excel table"),
        (b"\x1f\x8b\x08\0", "a gzip file; unpack it"),
        (b"SQLite format 3\0\x10\0\x01", "holds no text .byte 16 is zero"),
    ],
)
@pytest.mark.parametrize("name", ["r.json", "q.csv"])
def test_a_file_that_holds_no_records_is_called_what_it_is(
    tmp_path: Path, content: bytes, message: str, name: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, name, content)
    assert "\n" not in str(error.value)


def test_a_named_pipe_is_no_record_file_and_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "r.json")
    with pytest.raises(UserError, match="is no regular file"):
        list(read_records(tmp_path / "r.json"))


def test_an_object_over_several_lines_is_one_line_that_says_what_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one object over several lines, where an array of objects or an object per"):
        read(tmp_path, "r.json", json.dumps({"data": [RECORD]}, indent=2))
