"""Who may import whom, and what dvc.yaml must name.

The directions are flows → dvc.yaml → stages → rooms.
"""

import ast
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.evaluation.benchmarks import names
from stages.run.command import flags
from tests.conftest import ROOT

ROOMS = {  # room: the rooms it may import
    "run": set(),
    "data": {"run"},
    "video": {"run", "data"},
    "curation": {"run", "data", "video"},
    "chat": {"run", "data"},
    "model": {"run", "data", "video"},
    "handshake": {"run", "data", "video", "chat", "model"},
    "generation": {"run", "data", "model"},
    "rl": {"run", "data", "video", "model", "generation", "chat", "handshake"},
    "embedded": {"run", "data", "video", "model"},
    "asking": {"run", "data", "video", "chat", "model", "handshake", "generation"},
    "evaluation": {"run", "data", "video"},
    "judging": {"run", "data", "chat", "evaluation"},
    "planning": {"run", "data", "video", "model", "generation"},
    "reporting": {"run", "data", "video", "evaluation"},
}
WITHOUT_TORCH = {"run", "data", "video", "curation", "chat", "reporting"}
PLUMBING = {"stages/run", "stages/launch.py", "stages/__init__.py"}  # no stage's dep: an edit there re-runs nothing
STAGES = sorted(
    path.stem
    for path in (ROOT / "stages").glob("*.py")
    if path.stem not in ("__init__", "launch", "plan", "check", "ask")
)
PIPELINE = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
DECODERS = {"av", "decord", "ffmpeg", "imageio_ffmpeg"}
TRAINING = ["base", "sft", "probe", "tgrpo", "evaluate"]


@cache
def imports(path: Path, top_level_only: bool = False) -> frozenset[str]:
    """Dotted names that a file imports.

    `from a import b` gives `a.b` when that is a module of the project.
    """
    tree = ast.parse(path.read_text())
    names: set[str] = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {
                f"{node.module}.{alias.name}" if module(f"{node.module}.{alias.name}") else node.module
                for alias in node.names
            }
    return frozenset(names)


def module(name: str) -> Path | None:
    """The file of a module of this project, or None."""
    path = ROOT / name.replace(".", "/")
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if name.split(".")[0] in ("stages", "flows") and file.is_file()), None)


def closure(path: Path, top_level_only: bool = False) -> tuple[set[Path], set[str]]:
    """The project's files that `path` runs, and other packages they import."""
    files, outside, queue = {path}, set(), [path]
    while queue:
        for name in imports(queue.pop(), top_level_only):
            parts = name.split(".")
            prefixes = [".".join(parts[:length]) for length in range(1, len(parts) + 1)]
            found = {file for prefix in prefixes if (file := module(prefix))}
            if not found:
                outside.add(parts[0])
            queue += found - files
            files |= found
    return files, outside


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "stages").parts[0]


def room_files() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / "stages" / room).glob("**/*.py"))


def test_names_of_transformers_come_from_the_modules_that_define_them() -> None:
    """The top level of transformers costs pyright 2,600 more files."""
    code = [
        path
        for folder in ("stages", "flows", "tests", "speed", "experiments")
        for path in (ROOT / folder).glob("**/*.py")
    ]
    assert [path for path in code if "transformers" in imports(path)] == []


def test_every_folder_below_stages_is_a_known_room() -> None:
    folders = {path.name for path in (ROOT / "stages").iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert folders <= set(ROOMS)
    assert len(room_files()) > 20


@pytest.mark.parametrize("path", room_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_the_rooms_below_it(path: Path) -> None:
    imported = {name.split(".")[1] for name in imports(path) if name.startswith("stages.")}
    assert imported <= ROOMS[room_of(path)] | {room_of(path)}
    assert not {name.split(".")[0] for name in imports(path)} & {"prefect", "dvc", "flows"}


@pytest.mark.parametrize("stage", [*STAGES, "launch"])
def test_a_stage_imports_rooms_and_neither_other_stages_nor_prefect_nor_dvc(stage: str) -> None:
    names = imports(ROOT / "stages" / f"{stage}.py")
    assert {name.split(".")[1] for name in names if name.startswith("stages.")} <= set(ROOMS)
    assert not {name.split(".")[0] for name in names} & {"prefect", "dvc", "flows"}


def test_the_plan_takes_nothing_but_parameters_from_stages() -> None:
    taken = [
        alias.name
        for node in ast.parse((ROOT / "stages" / "plan.py").read_text()).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[-1] in STAGES
        for alias in node.names
    ]
    assert taken
    assert [name for name in taken if not (name.endswith("Params") or name.isupper())] == []


def test_flows_import_no_stage() -> None:
    files = list((ROOT / "flows").glob("*.py"))
    assert files
    assert not [path.name for path in files for name in imports(path) if name.startswith("stages")]


@pytest.mark.parametrize(
    "path", [path for path in room_files() if room_of(path) in WITHOUT_TORCH], ids=lambda path: path.name
)
def test_rooms_before_the_models_import_without_torch(path: Path) -> None:
    _, outside = closure(path, top_level_only=True)
    assert not outside & {"torch", "transformers"}


@pytest.mark.parametrize("stage", TRAINING)
def test_training_and_evaluation_import_no_video_decoder(stage: str) -> None:
    _, outside = closure(ROOT / "stages" / f"{stage}.py")
    assert "torch" in outside
    assert not outside & DECODERS


def test_dvc_runs_exactly_the_files_in_stages() -> None:
    assert sorted(PIPELINE) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_deps_name_the_code_a_stage_runs(stage: str) -> None:
    runs = re.findall(r"stages\.(\w+)", PIPELINE[stage]["cmd"])
    files = set().union(*(closure(ROOT / "stages" / f"{name}.py")[0] for name in {stage, *runs}))
    deps = {dep for dep in PIPELINE[stage]["deps"] if dep.startswith("stages/")}
    if module("stages.evaluation.benchmarks") in files:  # it imports a benchmark's own file by name, an item to DVC
        files |= set().union(*(closure(path)[0] - {path} for path in adapters()))
        deps = {dep for dep in deps if "${" not in dep}
    code = {path.relative_to(ROOT) for path in files if path.name != "__init__.py" or has_code(path)}
    code = {path for path in code if not covers(PLUMBING, path)}
    assert sorted(str(path) for path in code if not covers(deps, path)) == [], f"add to the deps of {stage} in dvc.yaml"
    assert sorted(dep for dep in deps if not any(covers({dep}, path) for path in code)) == [], (
        f"remove from {stage} in dvc.yaml"
    )


@pytest.mark.parametrize("stage", STAGES)
def test_plumbing_is_no_stages_dep(stage: str) -> None:
    deps = [dep for dep in PIPELINE[stage]["deps"] if dep.startswith("stages/")]
    assert not [dep for dep in deps if covers(PLUMBING, Path(dep))]


def test_dvc_yaml_stays_readable() -> None:
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 250


def covers(deps: set[str], path: Path) -> bool:
    """Whether a dep is the file or a folder that holds it."""
    return any(path.is_relative_to(dep) for dep in deps)


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_passes_the_flags_that_a_stage_has_and_all_that_it_needs(stage: str) -> None:
    _, *others = [parameter for parameter, _ in flags(import_module(f"stages.{stage}").run)]
    required = {f"--{one.name.replace('_', '-')}": one.default is one.empty for one in others}
    passed = [*re.findall(r"--[a-z-]+", PIPELINE[stage]["cmd"]), *(f"--{key}" for key in matrix(stage))]
    assert {flag for flag, needed in required.items() if needed} <= set(passed) <= required.keys()


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_tracks_the_parameters_of_each_stage(stage: str) -> None:
    assert any(re.match(rf"{stage}\b", str(section)) for section in PIPELINE[stage]["params"])


@pytest.mark.parametrize("stage", ["benchmark", "evaluate"])
def test_a_benchmarks_own_file_and_settings_re_run_that_benchmark_alone(stage: str) -> None:
    assert PIPELINE[stage]["params"] == [f"{stage}.defaults", f"{stage}.${{item.{benchmark_key(stage)}}}"]
    assert own_file(stage) in PIPELINE[stage]["deps"]
    own = {str(path.relative_to(ROOT)) for path in adapters()} & set(PIPELINE[stage]["deps"])
    assert own <= {"stages/evaluation/benchmarks/videomme.py"}


def matrix(stage: str) -> dict[str, str]:
    """Templates by the flag that each value of the matrix is given with."""
    return PIPELINE[stage].get("matrix", {})


def benchmark_key(stage: str) -> str:
    return next(key for key, template in matrix(stage).items() if template == "${report.benchmarks}")


def own_file(stage: str) -> str:
    """The dep on the file of the matrix item's benchmark."""
    return f"stages/evaluation/benchmarks/${{item.{benchmark_key(stage)}}}.py"


def adapters() -> list[Path]:
    return [ROOT / "stages" / "evaluation" / "benchmarks" / f"{name}.py" for name in names()]


def has_code(path: Path) -> bool:
    return any(not isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body)


def test_a_file_is_short_enough_to_be_read_at_once() -> None:
    folders = ("stages", "flows", "speed", "experiments", "tests")
    files = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    assert [path.name for path in files if len(path.read_text(encoding="utf-8").splitlines()) > 300] == []


def test_no_drawer_for_everything() -> None:
    names = {path.stem for folder in ("stages", "flows") for path in (ROOT / folder).rglob("*.py")}
    assert not names & {"utils", "util", "common", "helpers", "helper", "misc", "shared"}
