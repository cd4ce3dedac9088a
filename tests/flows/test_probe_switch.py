"""The stage `probe` in the graph: absent until a model is named, as DVC itself says."""

import shutil
from pathlib import Path

import pytest

from flows import dvc, lineage
from flows.overview import overview
from tests.flows.conftest import edit
from tests.flows.recorded import record, record_project
from tests.flows.test_reruns import changed


@pytest.fixture(scope="module")
def off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with default parameters, every stage up to date."""
    return record_project(tmp_path_factory.mktemp("off") / "project")


@pytest.fixture(scope="module")
def on(off: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the probe, and T-GRPO on what its rules keep; every stage up to date."""
    root = Path(shutil.copytree(off, tmp_path_factory.mktemp("on") / "project"))
    turn_on(root)
    train_on_it(root)
    record(root)
    return root


@pytest.fixture
def project(on: Path, tmp_path: Path) -> Path:
    """A copy of `on`."""
    return Path(shutil.copytree(on, tmp_path / "project"))


def turn_on(root: Path) -> None:
    edit(root, "  models: []\n  rules: []", "  models: [sft]\n  rules: [needs_order]")


def train_on_it(root: Path) -> None:
    edit(root, "rl_folder: data\n", "rl_folder: data/probed/sft\n")


@pytest.mark.integration
def test_without_a_model_there_is_no_such_stage_and_nothing_to_run(off: Path) -> None:
    assert not [stage.name for stage in dvc.snapshot(off).stages if stage.group == "probe"]
    assert changed(off) == set()
    assert "probe" not in overview(dvc.snapshot(off))


@pytest.mark.integration
def test_a_named_model_adds_the_stage_alone_and_the_folder_trains_on_it(off: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(off, tmp_path / "project"))
    turn_on(root)
    assert changed(root) == {"probe", "report"}  # the report shows params.yaml
    train_on_it(root)
    assert changed(root) == {"probe", "tgrpo", "report"}


@pytest.mark.integration
def test_the_graph_and_the_lineage_show_it_between_sft_and_tgrpo(on: Path) -> None:
    now = dvc.snapshot(on)
    lines = {line.split()[0]: line for line in overview(now).splitlines()}
    assert lines["probe"].endswith("← sft")
    assert lines["tgrpo"].endswith("← probe")
    chain = lineage.ancestry(now.stages, next(stage for stage in now.stages if stage.name.startswith("evaluate@tgrpo")))
    assert "data/probed/sft/rl.parquet" in lineage.artifacts_of(chain)
    assert "stages/curation" in lineage.code_of(chain)
    assert not [path for path in lineage.code_of(chain) if path.startswith("data/")]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("file", "old", "new", "stages"),
    [
        ("params.yaml", "rules: [needs_order]", "rules: [needs_order]\n  min_gain: 0.25", {"probe", "report"}),
        ("stages/curation/probe_rules.py", "class Share", "# edited\nclass Share", {"filter", "probe"}),
        ("stages/generation/generate.py", "REFILL =", "# edited\nREFILL =", {"probe", "tgrpo", "evaluate"}),
        ("data/probed/sft/rl.parquet", "made by", "written by", {"probe", "tgrpo", "report"}),
        ("data/rl.parquet", "made by", "written by", {"filter", "probe"}),
        ("models/sft/file", "sft", "another", {"sft", "probe", "tgrpo", "evaluate"}),
    ],
)
def test_what_re_runs_the_probe(project: Path, file: str, old: str, new: str, stages: set[str]) -> None:
    edit(project, old, new, file)
    assert changed(project) == stages


@pytest.mark.integration
def test_the_answers_stay_where_they_are_when_the_stage_runs_again(project: Path) -> None:
    """DVC removes a stage's outputs before it runs, except those that persist."""
    with dvc.Repo(str(project)) as repo:
        [stage] = [stage for stage in repo.index.stages if getattr(stage, "name", "") == "probe@sft"]
        assert [out.def_path for out in stage.outs if out.persist] == ["data/answers/sft.parquet"]
