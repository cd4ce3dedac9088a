"""SFT on packed rows: the run of padded batches, without padding."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from stages.data.sample import read_samples
from stages.model.examples import Example, Examples, PackedExamples
from stages.model.inputs import PromptBuilder
from stages.run.errors import UserError
from stages.run.files import read_json
from stages.sft import SftTrainer, pack, run
from stages.video.frame_store import FrameReader
from tests.sft_inputs import LORA, folder_bytes, quick, steps, write_inputs

PACKED = {"samples_per_forward": 1, "tokens_per_forward": 150}


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The arguments of `run`, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return write_inputs(tmp_path)


def test_every_step_has_its_samples_within_the_budget(inputs: dict[str, Path]) -> None:
    reader = FrameReader(inputs["frame_store"], inputs["samples"])
    examples = Examples(read_samples(inputs["samples"]), reader, PromptBuilder(inputs["model"]))
    packed = pack(quick(**PACKED, max_steps=5), examples)
    assert len(packed) == 5 * packed.per_step
    assert 1 < packed.per_step < 4
    of_steps = [packed.rows[start : start + packed.per_step] for start in range(0, len(packed), packed.per_step)]
    assert all(sum(map(len, step)) == 4 for step in of_steps)
    assert sorted(sample for step in of_steps for row in step for sample in row) == sorted([*range(10)] * 2)
    for row in packed.rows:
        tokens = sum(examples.set.lengths[sample] for sample in row)
        inputs_of_row = packed.collate([packed[packed.rows.index(row)]])
        assert inputs_of_row["input_ids"].shape == (1, tokens)
        assert tokens <= 150


@pytest.mark.slow
@pytest.mark.parametrize("how", [{}, {"lora": LORA}], ids=["whole", "adapters"])
def test_a_packed_run_does_the_steps_of_its_samples_one_by_one(
    inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, how: dict
) -> None:
    tables = []
    for budget in (150, 1):  # a budget of one token leaves each sample a row of its own
        params = quick(**(PACKED | {"tokens_per_forward": budget} | how))
        run(params, **inputs)
        tables.append(steps(inputs["plot"]))
    packed, alone = tables
    assert len(packed) == len(alone) == 4
    for step_packed, step_alone in zip(packed, alone, strict=True):
        assert step_packed["tokens"] == step_alone["tokens"]
        assert float(step_packed["loss"]) == pytest.approx(float(step_alone["loss"]), rel=1e-4)
        assert float(step_packed["grad_norm"]) == pytest.approx(float(step_alone["grad_norm"]), rel=1e-3)


@pytest.mark.slow
def test_a_packed_run_gives_equal_bytes_and_learns(inputs: dict[str, Path], tmp_path: Path) -> None:
    params, outputs = quick(**PACKED, max_steps=12, warmup_steps=2), []
    for _ in range(2):
        for checkpoint in (tmp_path / ".work").glob("sft/*/*/checkpoint-*/complete.json"):
            checkpoint.unlink()  # from the start again
        run(params, **inputs)
        outputs.append((folder_bytes(inputs["out"]), inputs["metrics"].read_bytes(), inputs["plot"].read_bytes()))
    assert outputs[0] == outputs[1]
    table = steps(inputs["plot"])
    assert float(table[-1]["loss"]) < 0.7 * float(table[0]["loss"])
    assert read_json(inputs["metrics"])["tokens"] == int(table[-1]["tokens"])


@pytest.mark.parametrize("processes", [1, 2])
def test_the_next_row_of_a_process_is_read_in_a_thread_while_the_model_works(
    inputs: dict[str, Path], processes: int
) -> None:
    rows, read = [[0], [1, 2], [3], [4]], list[int]()

    class Watched(Examples):
        def __getitem__(self, index: int) -> Example:
            assert threading.current_thread() is not threading.main_thread()
            read.append(index)
            return super().__getitem__(index)

    reader = FrameReader(inputs["frame_store"], inputs["samples"])
    examples = Watched(read_samples(inputs["samples"]), reader, PromptBuilder(inputs["model"]))
    packed = PackedExamples(examples, rows, per_step=2, processes=processes)
    for row in range(0, 4, processes):
        found = packed[row]
        assert [prompt.sample_id for prompt, _ in found] == [f"sample-{sample}" for sample in rows[row]]
        following = [row + processes] if row + processes < 4 else []
        wait_until(lambda expected=following: all(set(rows[ahead]) <= set(read) for ahead in expected))
    assert read == [sample for row in range(0, 4, processes) for sample in rows[row]]


def wait_until(is_so: Callable[[], bool]) -> None:
    """Fail when it does not become so within half a minute."""
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_packed_run_goes_on_from_its_checkpoint(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = quick(**PACKED, max_steps=6)
    run(params, **inputs)
    whole = folder_bytes(inputs["out"]), inputs["plot"].read_bytes()
    (work,) = (tmp_path / ".work").glob("sft/*/0")
    (work / "checkpoint-6" / "complete.json").unlink()
    trained: list[int] = []
    step = SftTrainer.training_step
    monkeypatch.setattr(
        SftTrainer, "training_step", lambda self, *args: trained.append(self.state.global_step) or step(self, *args)
    )
    run(params, **inputs)
    assert sorted(set(trained)) == [4, 5]
    assert (folder_bytes(inputs["out"]), inputs["plot"].read_bytes()) == whole


def test_packing_and_padding_cannot_be_had_together(inputs: dict[str, Path]) -> None:
    with pytest.raises(ValidationError, match="tokens_per_forward packs samples: leave samples_per_forward out"):
        quick(tokens_per_forward=100, samples_per_forward=2)


def test_samples_of_a_step_are_shared_out_over_processes(
    inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = FrameReader(inputs["frame_store"], inputs["samples"])
    examples = Examples(read_samples(inputs["samples"]), reader, PromptBuilder(inputs["model"]))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert pack(quick(**PACKED), examples).per_step % 2 == 0
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match=r"sft.batch_size \(4\) must be a multiple of"):
        pack(quick(**PACKED), examples)
