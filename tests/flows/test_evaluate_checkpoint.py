"""Against the project's own dvc.yaml."""

import shutil
from pathlib import Path

import pytest

from flows import dvc
from flows.errors import UsageError
from flows.evaluate_checkpoint import find_stage, outputs_in, with_options
from tests.conftest import ROOT
from tests.flows.conftest import edit


@pytest.mark.integration
def test_a_benchmark_is_found_in_dvc_yaml_by_its_name_and_by_a_number_of_frames(toy: Path) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, toy)
    edit(toy, "frames: [8]", "frames: [8, 16]")
    stages = dvc.snapshot(toy).stages
    assert find_stage(stages, "shapes").name == "evaluate@base-shapes-8"
    assert find_stage(stages, "shapes-16").name == "evaluate@base-shapes-16"
    words, replaced = with_options(find_stage(stages, "shapes").command, {"--name": "mine", "--model": "step 3"})
    assert words[:5] == ["python", "-m", "stages.evaluate", "--name", "mine"]
    assert words[words.index("--model") + 1] == "step 3"
    assert replaced == {"--name": "base", "--model": "models/base"}
    outputs = outputs_in(Path("runs/x"), find_stage(stages, "shapes"))
    assert set(outputs) == {"--predictions", "--metrics", "--headline"}
    assert outputs["--predictions"] == "runs/x/predictions.parquet"
    with pytest.raises(UsageError, match=r"dvc.yaml evaluates nothing on 'shape'; nearest: shapes"):
        find_stage(stages, "shape")
