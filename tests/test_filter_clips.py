"""The filter stage on frames, clips and benchmarks."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from stages.data.sample import read_rejects, read_samples, write_samples
from stages.data.shards import ShardStore
from stages.filter import FilterParams
from stages.run.errors import UserError
from stages.run.files import write_table
from stages.video.clips import CLIPS_SCHEMA
from stages.video.frame_rows import row_from_frames
from stages.video.frame_store import FRAME_KEYS_SCHEMA, SCHEMA, Frames
from tests.curation.filtering import GOOD, annotation, filtered, sample


def test_samples_without_frames_leave_both_sets(tmp_path: Path) -> None:
    write_table(
        tmp_path / "frames.parquet",
        [{"sample_id": name, "frame_key": f"of {name}"} for name in ("s1", "s3")],
        FRAME_KEYS_SCHEMA,
    )
    samples = [sample(1, "sft"), sample(2, "sft"), sample(3, "rl"), sample(4, "rl")]
    out = filtered(
        tmp_path,
        FilterParams(),
        samples,
        [annotation(1, GOOD), annotation(2, GOOD)],
        frame_keys=tmp_path / "frames.parquet",
    )
    assert [(reject.sample_id, reject.reason) for reject in read_rejects(out["rejects"])] == [
        ("s2", "frames"),
        ("s4", "frames"),
    ]
    assert [pq.read_table(out[name])["frame_key"].to_pylist() for name in ("sft", "rl")] == [["of s1"], ["of s3"]]


def test_what_the_frames_stage_found_in_the_clips_drops_samples_and_is_needed_for_it(tmp_path: Path) -> None:
    facts = {"brightness": 90.0, "motion": 3.0, "seconds": 2.0, "keyframes": 1, "flags": []}
    clips = [
        facts | {"sample_id": f"s{number}", "same_media": f"s{number}", "near_clip": f"s{number}"}
        for number in (1, 2, 3)
    ]
    clips[1] |= {"near_clip": "s1"}
    clips[2] |= {"flags": ["black", "frozen"], "brightness": 0.5, "motion": 0.0}
    write_table(tmp_path / "clips.parquet", clips, CLIPS_SCHEMA)
    params = FilterParams(rules=("near_duplicates", "quality"))
    samples, answers = (
        [sample(number, "sft") for number in (1, 2, 3)],
        [annotation(number, GOOD) for number in (1, 2, 3)],
    )
    out = filtered(tmp_path, params, samples, answers, clips=tmp_path / "clips.parquet")
    assert [(reject.sample_id, reject.reason, reject.detail) for reject in read_rejects(out["rejects"])] == [
        ("s2", "near_duplicates", "1.00 like s1"),
        ("s3", "quality", "black, frozen: brightness 0.5, motion 0, seconds 2, keyframes 1"),
    ]
    with pytest.raises(UserError, match="pass the frames stage's table with --clips"):
        filtered(tmp_path, params, samples, answers)


def test_what_a_table_holds_out_for_testing_leaves_both_sets(tmp_path: Path) -> None:
    params = FilterParams(rules=("contamination",), held_out=str(tmp_path / "samples.parquet"))
    samples = [sample(1, "train"), sample(2, "train"), sample(3, "test", media_sha256="sha1")]
    out = filtered(tmp_path, params, samples, [annotation(1, GOOD), annotation(2, GOOD)])
    assert [kept.sample_id for kept in read_samples(out["sft"])] == ["s2"]
    assert [kept.sample_id for kept in read_samples(out["rl"])] == ["s2"]
    words = "which way does it move a left b right"
    assert {reject.detail for reject in read_rejects(out["rejects"])} == {
        f"media of samples.parquet; text of samples.parquet: {words}"
    }


def test_a_benchmarks_frames_under_another_file_leave_both_sets(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)
    clips = [Frames(shown, np.arange(3), np.arange(3.0), 1.0) for shown in (pixels, pixels[:, ::-1])]
    bench = tmp_path / "benchmarks" / "bench"
    for folder, names, quality in ((bench, ["s1"], 95), (tmp_path, ["s1", "s2"], 60)):
        rows = [row_from_frames(f"clip of {name}", shown, quality) for name, shown in zip(names, clips, strict=False)]
        ShardStore(folder / "frames", SCHEMA).append(rows)
        write_table(
            folder / "frames.parquet",
            [{"sample_id": name, "frame_key": f"clip of {name}"} for name in names],
            FRAME_KEYS_SCHEMA,
        )
    write_samples(bench / "samples.parquet", [sample(1, "test", media_sha256="the benchmark's own file")])
    stores = {"frame_store": tmp_path / "frames", "frame_keys": tmp_path / "frames.parquet"}
    for held_out in (bench, bench.parent):
        params = FilterParams(rules=("contamination",), held_out=str(held_out))
        out = filtered(
            tmp_path, params, [sample(1, "sft"), sample(2, "sft")], [annotation(1, GOOD), annotation(2, GOOD)], **stores
        )
        assert [kept.sample_id for kept in read_samples(out["sft"])] == ["s2"]
        assert read_rejects(out["rejects"])[0].detail.startswith("frames of bench; text of bench:")


def test_held_out_questions_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no benchmark in elsewhere"):
        filtered(tmp_path, FilterParams(rules=("contamination",), held_out="elsewhere"), [sample(1, "rl")], [])


def test_a_folder_of_held_out_benchmarks_holds_those_of_params_yaml_and_no_other(tmp_path: Path) -> None:
    settings, held_out = tmp_path / "params.yaml", tmp_path / "benchmarks"
    settings.write_text("report: {benchmarks: [shapes], frames: [8], examples: 3}\n")
    for name in ("shapes-8", "shapes-16"):
        (held_out / name).mkdir(parents=True)
        write_samples(held_out / name / "samples.parquet", [sample(1, "test")])
    params = FilterParams(rules=("answered",), held_out=str(held_out))
    inputs = ([sample(2, "sft"), sample(3, "rl")], [annotation(2, GOOD)])
    with pytest.raises(UserError, match=r"benchmarks holds results .* rm -r \S+benchmarks/shapes-16$"):
        filtered(tmp_path, params, *inputs, settings=settings)
    one = params.model_copy(update={"held_out": str(held_out / "shapes-16")})
    for fine in (params.model_copy(update={"held_out": str(tmp_path / "samples.parquet")}), one):
        filtered(tmp_path, fine, *inputs, settings=settings)
    shutil.rmtree(held_out / "shapes-16")
    filtered(tmp_path, params, *inputs, settings=settings)
