"""The plan against what an H100 of 80 GB measured.

The figures are those of the first runs on a GPU (torch 2.11, CUDA 13, transformers 5.23): random weights of the real
sizes, adapters of rank 16, bf16, 16 frames of at most 100,352 pixels, prompts of 500 to 1,640 tokens.
"""

import json
from pathlib import Path

import pytest

from stages.model.adapters import Lora
from stages.model.load import load_config
from stages.plan import TEXT_TOKENS, plan_sft, plan_tgrpo
from stages.planning.machine import machine
from stages.planning.media import Media
from stages.planning.plan import GIB, Plan
from stages.planning.size import ModelSize, model_size
from stages.rl.loss import LossParams
from stages.sft import SftParams
from stages.tgrpo import TgrpoParams
from tests.planning.configs import QWEN2_5_VL_7B

QWEN2_5_VL_3B = QWEN2_5_VL_7B | {
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_attention_heads": 16,
    "num_hidden_layers": 36,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "vision_config": QWEN2_5_VL_7B["vision_config"] | {"out_hidden_size": 2048},
}
LORA = Lora(rank=16, alpha=32)
LEAST, AVERAGE, MOST = 500, 1000, 1640  # tokens of a prompt
ANSWER = 112  # tokens of the longest thought and answer
PLACES = Media(
    visual=AVERAGE - TEXT_TOKENS,
    grids=8,
    most_visual=MOST - TEXT_TOKENS,
    most_grids=8,
    videos=1.0,
    least_visual=LEAST - TEXT_TOKENS,
)
H100 = machine("h100-80gb", 1, 1)


def size_of(config: dict, folder: Path) -> ModelSize:
    """The sizes of a config."""
    (folder / "config.json").write_text(json.dumps(config))
    return model_size(load_config(folder))


@pytest.mark.parametrize(("samples", "checkpointing", "measured"), [(1, True, 8.6), (4, True, 17.3), (4, False, 48.0)])
def test_memory_of_sft_is_within_a_tenth_of_the_measured(
    tmp_path: Path, samples: int, checkpointing: bool, measured: float
) -> None:
    params = SftParams(lora=LORA, samples_per_forward=samples, gradient_checkpointing=checkpointing, batch_size=8)
    plan = plan_sft(params, size_of(QWEN2_5_VL_3B, tmp_path), PLACES, ANSWER, 1000, H100, H100.mfu("sft"))
    assert plan.memory / GIB == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize(("checkpointing", "measured"), [(True, 7_291), (False, 9_738)])
def test_speed_of_sft_is_within_a_third_of_the_measured(tmp_path: Path, checkpointing: bool, measured: float) -> None:
    # Tokens per second with nothing of the frozen tower in the graph, and vision attention in one call per layer.
    params = SftParams(lora=LORA, samples_per_forward=4, gradient_checkpointing=checkpointing, batch_size=8)
    plan = plan_sft(params, size_of(QWEN2_5_VL_3B, tmp_path), PLACES, ANSWER, 1000, H100, H100.mfu("sft"))
    assert plan.tokens / plan.seconds == pytest.approx(measured, rel=0.3)


def planned_step(tmp_path: Path, rollout_rows: int | None = None) -> Plan:
    """The step of 8 questions with 8 + 4 responses of 256 tokens, 7B."""
    params = TgrpoParams(
        lora=LORA,
        freeze_vision=True,
        max_new_tokens=256,
        length_min=100,
        length_max=256,
        questions_per_step=8,
        questions_per_forward=1,
        rollout_rows=rollout_rows,
    )
    prompt = 1440 - TEXT_TOKENS
    media = Media(prompt, 8, prompt, 8, videos=1.0, least_visual=prompt)
    return plan_tgrpo(params, size_of(QWEN2_5_VL_7B, tmp_path), media, H100, H100.mfu("tgrpo"))


def test_memory_and_seconds_of_a_tgrpo_step_are_near_the_measured(tmp_path: Path) -> None:
    plan = planned_step(tmp_path)
    assert plan.memory / GIB == pytest.approx(21.8, rel=0.1)
    assert plan.seconds == pytest.approx(26.3, rel=0.3)


def test_fewer_responses_at_once_take_less_memory_and_more_tokens_one_after_the_other(tmp_path: Path) -> None:
    whole, quarter, more = (planned_step(tmp_path, rows) for rows in (None, 24, 200))
    cache = "rollout: KV cache"
    assert whole.phases[cache] == more.phases[cache]
    assert quarter.phases[cache] < 0.5 * whole.phases[cache]  # half of the prompts, a quarter of the responses
    assert quarter.seconds > 3 * whole.seconds


def test_scoring_on_contrast_frames_takes_as_long_as_the_reference(tmp_path: Path) -> None:
    size = size_of(QWEN2_5_VL_7B, tmp_path)

    def seconds(params: TgrpoParams) -> float:
        return plan_tgrpo(params, size, PLACES, H100, H100.mfu("tgrpo")).seconds

    plain = TgrpoParams(lora=LORA, freeze_vision=True)
    reference = seconds(plain) - seconds(plain.model_copy(update={"loss": LossParams(beta=0.0)}))
    assert reference > 0.1
    for mode in ("likelihood", "answer", "tokens"):
        contrast = seconds(plain.model_copy(update={"temporal": mode})) - seconds(plain)
        assert contrast == pytest.approx(reference)  # every question here has contrast frames
    assert seconds(plain.model_copy(update={"temporal": "relation"})) == seconds(plain)
    unanswered = plain.model_copy(update={"contrast_size": 0, "temporal": "off"})
    contrast = seconds(unanswered.model_copy(update={"temporal": "likelihood"})) - seconds(unanswered)
    assert contrast > reference  # nobody has encoded the contrast frames before
