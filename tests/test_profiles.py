"""Every shipped parameter set is accepted and holds the published numbers."""

import importlib
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from ruamel.yaml import YAML

from stages.evaluation.benchmarks import names
from stages.report import ReportParams
from stages.run.params import Params, load_params
from tests.architecture.test_directions import STAGES
from tests.conftest import ROOT

PER_BENCHMARK = ("benchmark", "evaluate")  # sections with `defaults` and what differs per benchmark
FILES = [ROOT / "params.yaml", *sorted((ROOT / "profiles").glob("*.yaml"))]


def params_model(stage: str) -> type[Params]:
    hints = get_type_hints(importlib.import_module(f"stages.{stage}").run)
    return hints["params"]


def sections(path: Path) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(path.read_text())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("stage", STAGES)
def test_every_section_of_every_shipped_file_is_accepted(path: Path, stage: str) -> None:
    for item in sections(path)[stage].keys() - {"defaults"} if stage in PER_BENCHMARK else [None]:
        assert isinstance(load_params(params_model(stage), stage, path, item), params_model(stage))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_benchmark_of_the_report_has_its_sections_and_is_known(path: Path) -> None:
    benchmarks = load_params(ReportParams, "report", path).benchmarks
    for stage in PER_BENCHMARK:
        assert sections(path)[stage].keys() == {"defaults", *benchmarks}
    assert set(benchmarks) <= set(names())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_shipped_file_has_a_section_per_stage_and_no_other(path: Path) -> None:
    assert sorted(sections(path)) == STAGES


def test_the_temporal_profile_is_the_papers_but_for_its_reward() -> None:
    paper, temporal = (sections(ROOT / "profiles" / f"{name}.yaml") for name in ("paper", "temporal-likelihood"))
    reward = {"temporal": "likelihood", "alpha": 0.5, "contrast_size": 0}
    assert temporal == paper | {"tgrpo": paper["tgrpo"] | reward}


def value(profile: str, name: str) -> Any:
    stage, *fields = name.split(".")
    item = "vsi_bench" if stage in PER_BENCHMARK else None
    found = load_params(params_model(stage), stage, ROOT / "profiles" / f"{profile}.yaml", item).model_dump()
    for field in fields:
        found = found[field]
    return found


# parameter: (paper, released code), from the paper's section 4 and the code's scripts
TABLE = {
    "tgrpo.group_size": (8, 8),
    "tgrpo.contrast_size": (4, 4),
    "tgrpo.contrast": ("shuffle", "shuffle"),
    "tgrpo.temporal": ("paper", "reference-code"),
    "tgrpo.alpha": (0.3, 0.3),
    "tgrpo.omega": (0.2, 0.2),
    "tgrpo.length_min": (320, 320),
    "tgrpo.length_max": (512, 512),
    "tgrpo.length_min_correct": (1, 2),
    "tgrpo.correct_above": (0.5, 0.1),
    "tgrpo.grading": ("default", "reference-code"),
    "tgrpo.scale": ("group", "group"),
    "tgrpo.loss.name": ("grpo", "grpo"),
    "tgrpo.loss.beta": (0.04, 0.04),
    "tgrpo.loss.kl_clamp": (10.0, 10.0),
    "tgrpo.updates_per_rollout": (1, 1),
    "tgrpo.learning_rate": (1e-6, 1e-6),
    "tgrpo.weight_decay": (0.01, 0.01),
    "tgrpo.max_grad_norm": (5.0, 5.0),
    "tgrpo.schedule": ("cosine", "cosine"),
    "tgrpo.temperature": (1.0, 1.0),
    "tgrpo.top_p": (0.95, 0.95),
    "tgrpo.max_new_tokens": (768, 768),
    "frames.policy": ("uniform", "fps"),
    "frames.max_frames": (16, 16),
    "frames.min_frames": (4, 4),
    "frames.fps": (2.0, 2.0),
    "frames.max_pixels": (128 * 28 * 28, int(1.05 * 128 * 28 * 28)),
    "frames.factor": (28, 28),
    "benchmark.max_pixels": (256 * 28 * 28, 256 * 28 * 28),
    "annotate.temperature": (1.0, 1.0),
    "annotate.top_p": (0.95, 0.95),
    "annotate.max_tokens": (512, 512),
    "filter.min_correctness.OCR": (0.6, 0.6),
    "sft.epochs": (1.0, 1.0),
    "sft.learning_rate": (1e-6, 1e-6),
    "sft.batch_size": (8, 8),
    "sft.precision": ("bf16", "bf16"),
    "sft.deepspeed": (2, 2),
    "evaluate.profile": ("video-r1", "video-r1"),
    "evaluate.temperature": (0.01, 0.1),
    "evaluate.top_p": (0.001, 0.001),
    "evaluate.max_new_tokens": (1024, 1024),
    "report.frames": ((16,), (16,)),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_presets_hold_the_published_numbers(name: str) -> None:
    assert (value("paper", name), value("reference-code", name)) == TABLE[name]
