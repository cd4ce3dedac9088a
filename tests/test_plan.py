"""`make plan`: what fits, what is refused, and what it advises."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages.plan import main
from stages.planning.machine import machine
from stages.run.errors import UserError
from stages.run.params import load_params
from stages.tgrpo import TgrpoParams
from tests import warm
from tests.conftest import ROOT
from tests.planning.configs import QWEN2_5_VL_7B
from tests.rl.conftest import tiny_model

SECONDS = 300
ONE_GPU = ROOT / "profiles" / "one-gpu.yaml"
PAPER = ["--params", str(ROOT / "profiles" / "paper.yaml"), "--samples", "165000"]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)  # no data here
    (tmp_path / "config.json").write_text(json.dumps(QWEN2_5_VL_7B))
    return ["--config", str(tmp_path / "config.json")]


@pytest.fixture
def printed(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    caplog.set_level("INFO", "stages.plan")
    return lambda: "\n".join(record.getMessage() for record in caplog.records)


def test_the_paper_profile_fits_on_8_gpus_of_80_gb(config: list[str], printed: Callable[[], str]) -> None:
    main([*PAPER, *config, "--device", "a100-80gb", "--gpus", "8"])
    assert "8292.17 M parameters" in printed()
    assert "tgrpo on 8 x a100-80gb, 80 GiB each" in printed()
    assert "20,625 steps" in printed()  # 165,000 samples in batches of 8
    # Per question 8 grids of 128 visual tokens, 200 of text and 8 responses of 768
    assert f"{8 * (1024 + 200 + 8 * 768):,} tokens per step at most, 1,000 steps" in printed()


def test_servers_take_the_rollout_out_of_the_plan_and_are_named(
    config: list[str], tmp_path: Path, printed: Callable[[], str]
) -> None:
    """No cache of keys and values, no decoding; the rest stays."""
    sections = YAML(typ="safe").load(ONE_GPU.read_text())
    sections["tgrpo"]["rollout"] = {"servers": ["http://a:8000/v1", "http://b:8000/v1"]}
    (tmp_path / "served.yaml").write_text(json.dumps(sections))
    main(["--params", str(ONE_GPU), "--samples", "1000", *config, "--device", "h100-80gb", "--gpus", "1"])
    assert "rollout: KV cache" in printed()
    assert "servers draw" not in printed()
    seconds = step_seconds(printed())
    main(
        [
            "--params",
            str(tmp_path / "served.yaml"),
            "--samples",
            "1000",
            *config,
            "--device",
            "h100-80gb",
            "--gpus",
            "1",
        ]
    )
    assert "2 servers draw the responses: their memory and the time of drawing come on top" in printed()
    assert printed().count("rollout: KV cache") == 1  # of the first plan
    assert step_seconds(printed()) < seconds / 2


def step_seconds(text: str) -> float:
    """The seconds of a T-GRPO step, in the last plan that was printed."""
    return float(re.findall(r"about (\S+) s each", text)[-1])


def test_a_config_may_have_any_name(config: list[str], tmp_path: Path, printed: Callable[[], str]) -> None:
    (tmp_path / "config.json").rename(tmp_path / "qwen-7b.json")
    main([*PAPER, "--config", str(tmp_path / "qwen-7b.json"), "--device", "a100-80gb", "--gpus", "8"])
    assert "8292.17 M parameters" in printed()


def test_the_paper_profile_is_refused_on_one_gpu_of_24_gb_with_advice(config: list[str]) -> None:
    adapters = r"lora \{rank: 16, alpha: 32\}"
    with pytest.raises(UserError) as refused:
        main([*PAPER, *config, "--device", "rtx4090-24gb", "--gpus", "1"])
    sft, tgrpo = str(refused.value).split("; ")
    assert re.match(rf"sft needs 1\d\d\.\d GiB per GPU and 21\.6 are usable: set sft\.{adapters}", sft)
    changes = rf"tgrpo\.rollout_rows 12, tgrpo\.{adapters}"
    assert re.match(rf"tgrpo needs 1\d\d\.\d GiB .*: set {changes}, .*frames\.max_frames \d \(fewer frames\)", tgrpo)


def test_who_follows_the_advice_is_not_refused(config: list[str], tmp_path: Path, printed: Callable[[], str]) -> None:
    yaml = YAML(typ="safe", pure=True)
    settings = yaml.load((ROOT / "profiles" / "paper.yaml").read_text())
    adapters = {"lora": {"rank": 16, "alpha": 32}, "deepspeed": None}
    settings["sft"] |= adapters | {"vision_lr_scale": 0.0}
    settings["tgrpo"] |= adapters | {"freeze_vision": True, "max_new_tokens": 384, "rollout_rows": 12}
    settings["frames"] |= {"max_frames": 8}
    (tmp_path / "params.yaml").write_text(json.dumps(settings))  # JSON is YAML
    main(["--samples", "165000", *config, "--device", "rtx4090-24gb", "--gpus", "1"])
    assert len(re.findall(r"kept vision features, CPU memory +4\.00 GiB", printed())) == 2


def long_clips(folder: Path, tgrpo: Mapping[str, object] = {}, **frames: object) -> list[str]:
    """The arguments of a plan for 256 frames of 128 visual tokens a pair."""
    sections = YAML(typ="safe").load(ONE_GPU.read_text())
    sections["frames"] |= {"max_frames": 256, **frames}
    sections["tgrpo"] |= tgrpo
    (folder / "long.yaml").write_text(json.dumps(sections))
    return ["--params", str(folder / "long.yaml"), "--samples", "1000", "--gpus", "1"]


def test_clips_of_256_frames_fit_on_one_gpu_of_80_gb(
    config: list[str], tmp_path: Path, printed: Callable[[], str]
) -> None:
    main([*long_clips(tmp_path), *config, "--device", "h100-80gb"])
    assert f"{8 * (128 * 128 + 200 + 8 * 512):,} tokens per step at most, 1,000 steps" in printed()


def test_a_budget_of_pixels_bounds_the_tokens_of_a_clip(
    config: list[str], tmp_path: Path, printed: Callable[[], str]
) -> None:
    main([*long_clips(tmp_path, total_pixels=4096 * 28 * 28), *config, "--device", "h100-80gb"])
    assert f"{8 * (4096 + 200 + 8 * 512):,} tokens per step at most, 1,000 steps" in printed()


@pytest.mark.parametrize(
    ("frames", "advice"),
    [
        ({"max_frames": 512}, r"set tgrpo\.rollout_rows 12$"),
        ({"max_frames": 1024}, r"set tgrpo\.rollout_rows 12, frames\.max_frames 512 \(fewer frames\)$"),
        (
            {"max_frames": 1024, "max_pixels": 200_704, "total_pixels": 65_536 * 784},
            r"set tgrpo\.rollout_rows 12, frames\.total_pixels 25690112 \(smaller frames\)$",
        ),
    ],
    ids=["fewer rows at once", "fewer frames", "smaller frames"],
)
def test_the_advice_for_long_clips(config: list[str], tmp_path: Path, frames: dict[str, object], advice: str) -> None:
    with pytest.raises(UserError, match=advice):
        main([*long_clips(tmp_path, {"questions_per_step": 32}, **frames), *config, "--device", "h100-80gb"])


def test_questions_that_cannot_be_shared_out_are_refused(config: list[str]) -> None:
    with pytest.raises(
        UserError, match=r"sft\.batch_size \(8\) must be a multiple of samples_per_forward x GPUs \(1 x 3\)"
    ):
        main([*PAPER, *config, "--device", "a100-80gb", "--gpus", "3"])


def test_without_data_the_length_of_sft_is_asked_for(config: list[str]) -> None:
    with pytest.raises(UserError, match="pass --samples"):
        main([*PAPER[:2], *config, "--device", "a100-80gb", "--gpus", "8"])


def test_an_unknown_device_is_named_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"no device 'a100'; known: cpu, a100-80gb"):
        machine("a100", 1, 1)


def test_the_embedded_parameters_fit_where_they_are_meant_to_run(
    printed: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["--params", str(ROOT / "params.yaml"), "--device", "cpu"])
    steps = load_params(TgrpoParams, "tgrpo", ROOT / "params.yaml").max_steps
    assert "tgrpo on 1 x cpu" in printed()
    assert "kept vision features" not in printed()  # params.yaml keeps none
    assert f"{steps} steps" in printed()


def test_the_plan_names_the_kernels_of_linear_attention_that_are_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: Callable[[], str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_model("qwen3_5").config.save_pretrained(tmp_path / "config")
    plain = ["--params", str(ROOT / "params.yaml"), "--device", "cpu"]
    command = [*plain, "--config", str(tmp_path / "config" / "config.json")]
    said = "linear attention runs in PyTorch, slower and with the memory below: for kernels install "
    main(command)
    assert f"{said}flash-linear-attention and causal-conv1d\n" in f"{printed()}\n"
    for module in ("fla", "causal_conv1d"):
        (tmp_path / module / module).mkdir(parents=True)
        monkeypatch.syspath_prepend(tmp_path / module)
        main(command)
    assert f"{said}causal-conv1d\n" in printed()
    assert printed().count(said) == 2
    main(plain)  # of a model without linear attention
    assert printed().count(said) == 2


@pytest.mark.integration
def test_text_of_a_config_reaches_the_terminal_escaped(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": "x\x1b[31mred"}))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    started = warm.start("stages.plan", ["--config", str(file)], tmp_path)
    assert started.wait(SECONDS) == 1
    assert "x\\x1b[31mred" in started.said
    assert "\x1b" not in started.said


def test_the_probe_is_planned_where_a_model_is_named(
    config: list[str], tmp_path: Path, printed: Callable[[], str]
) -> None:
    sections = YAML(typ="safe").load(ONE_GPU.read_text())
    sections["probe"]["models"] = ["sft"]
    (tmp_path / "probed.yaml").write_text(json.dumps(sections))
    flags = ["--samples", "1000", *config, "--device", "h100-80gb", "--gpus", "1"]
    main(["--params", str(ONE_GPU), *flags])
    assert "probe on" not in printed()
    main(["--params", str(tmp_path / "probed.yaml"), *flags])
    assert "probe on 1 x h100-80gb: about " in printed()
