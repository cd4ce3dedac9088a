"""Rows that enter, end and make place for others, against the plain way."""

from collections.abc import Iterator

import pytest
import torch
from torch._dynamo.utils import counters
from transformers.modeling_utils import PreTrainedModel

from stages.generation.attention import shared_prefix
from stages.generation.decoder import CPU, GPU, Decoder, Newcomer, Pace, Room
from stages.generation.generate import Completion, Job, generate_continuously, room_for
from stages.generation.sampling import Sampling
from stages.model.inputs import Prompt, PromptBuilder
from tests.generation.plain import adapted, favour_end, jobs, plain_rows, same

TOKENS = 16
GREEDY, WARM, CUT = Sampling(TOKENS, temperature=0.0), Sampling(TOKENS, 1.2), Sampling(TOKENS, 0.9, top_p=0.8)
SMALL_GPU = Pace(check_every=3, first_columns=8, leave=GPU.leave)  # as on a GPU, in a test's size
COUNTS = [2, 1, 3, 1, 2, 1]  # rows of each job


def answer(
    model: PreTrainedModel,
    builder: PromptBuilder,
    asked: list[Job],
    sampling: Sampling,
    most_rows: int | None = None,
    pace: Pace | None = None,
) -> list[list[Completion]]:
    """The completions of each job, and no job is answered twice."""
    room = room_for([len(each.prompt.ids_P) for each in asked], [each.count for each in asked], most_rows)
    found = [
        pair
        for answered in generate_continuously(model, builder, asked, sampling, room, pace=pace)
        for pair in answered.items()
    ]
    assert sorted(number for number, _ in found) == list(range(len(asked)))
    return [completions for _, completions in sorted(found, key=lambda pair: pair[0])]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each step that is decoded."""
    seen: list[int] = []
    step = Decoder.step

    def counted(decoder: Decoder) -> None:
        seen.append(len(decoder.ids_AC))
        step(decoder)

    monkeypatch.setattr(Decoder, "step", counted)
    return seen


@pytest.mark.parametrize("sampling", [GREEDY, WARM, CUT], ids=["greedy", "sampled", "nucleus"])
@pytest.mark.parametrize("with_adapters", [False, True], ids=["plain", "adapters"])
def test_every_way_gives_the_tokens_of_the_plain_loop(
    model: PreTrainedModel, builder: PromptBuilder, prompts: list[Prompt], sampling: Sampling, with_adapters: bool
) -> None:
    favour_end(model, builder, by=3.5)
    policy, asked = adapted(model) if with_adapters else model, jobs(prompts, COUNTS)
    expected = [plain_rows(policy, builder, each, sampling) for each in asked]
    for most_rows, pace in ((None, CPU), (4, CPU), (None, SMALL_GPU), (3, SMALL_GPU)):
        found = answer(policy, builder, asked, sampling, most_rows, pace)
        for completions, rows in zip(found, expected, strict=True):
            same(completions, rows)
    lengths = {len(ids) for rows in expected for ids, _ in rows}
    if sampling.temperature > 0:
        assert len(lengths) > 1


def test_a_refill_takes_fewer_steps_than_one_pack_after_the_other(
    model: PreTrainedModel, builder: PromptBuilder, prompts: list[Prompt], steps: list[int]
) -> None:
    favour_end(model, builder, by=4.0)
    asked, sampling = jobs(prompts, [1] * 32), Sampling(40, 1.2)
    packs = [answer(model, builder, asked[start : start + 8], sampling) for start in range(0, 32, 8)]
    in_packs = len(steps)
    steps.clear()
    refilled = answer(model, builder, asked, sampling, most_rows=8)
    texts = [[rows[0].text for rows in found] for found in ([rows for pack in packs for rows in pack], refilled)]
    assert texts[0] == texts[1]
    assert len(steps) < 0.75 * in_packs
    needed = sum(len(rows[0].ids_C) - 1 for rows in refilled)  # the first token of a row needs no step
    assert needed > 0.6 * sum(steps)  # most rows that are decoded are at work


def test_jobs_are_taken_when_there_is_room_for_their_rows(
    model: PreTrainedModel, builder: PromptBuilder, prompts: list[Prompt]
) -> None:
    favour_end(model, builder, by=3.0)
    asked, taken = jobs(prompts, [1] * 12), 0

    def waiting() -> Iterator[Job]:
        nonlocal taken
        for job in asked:
            taken += 1
            yield job

    room = room_for([len(each.prompt.ids_P) for each in asked], [1] * 12, 3)
    answered = 0
    for found in generate_continuously(model, builder, waiting(), WARM, room):
        answered += len(found)
        assert taken <= answered + 3 + 1  # one is looked at while it waits
    assert taken == answered == 12


def test_room_holds_the_rows_of_one_job_at_least() -> None:
    assert room_for([10, 30, 20], [8, 8, 4], None) == Room(rows=20, prompts=3, prompt_tokens=30, width=8)
    assert room_for([10, 30, 20], [8, 8, 4], 12) == Room(rows=12, prompts=3, prompt_tokens=30, width=8)
    assert room_for([10, 30, 20], [8, 8, 4], 2) == Room(rows=8, prompts=2, prompt_tokens=30, width=8)
    assert room_for([10] * 50, [1] * 50, 6) == Room(rows=6, prompts=6, prompt_tokens=10, width=1)


def test_attention_reads_what_is_there_or_doubling_room() -> None:
    assert [CPU.columns(needed) for needed in (1, 64, 65, 300)] == [1, 64, 65, 300]
    assert [GPU.columns(needed) for needed in (1, 64, 65, 128, 129, 300)] == [64, 64, 128, 128, 256, 512]


def entered(model: PreTrainedModel, builder: PromptBuilder, prompts: list[Prompt], sampling: Sampling) -> Decoder:
    """A decoder of 6 rows: 3 of one prompt, 2 of another, and a free one."""
    longest = max(len(prompt.ids_P) for prompt in prompts)
    decoder = Decoder(model, builder, sampling, Room(6, 3, longest, width=3), GPU)
    decoder.enter([Newcomer(prompts[0], 1, 0, [0, 1, 2]), Newcomer(prompts[1], 2, 1, [3, 4])])
    decoder.read(8)
    return decoder


def refill(decoder: Decoder, prompt: Prompt) -> None:
    """Two rows of another prompt in the place of the first."""
    decoder.take([0, 1, 2])
    decoder.enter([Newcomer(prompt, 3, 0, [0, 2])])
    decoder.read(8)


def test_a_step_and_a_refill_write_to_the_same_addresses(
    model: PreTrainedModel, builder: PromptBuilder, prompts: list[Prompt]
) -> None:
    decoder = entered(model, builder, prompts, CUT)
    addresses = [buffer.data_ptr() for buffer in decoder.buffers()]
    for change in (decoder.step, lambda: refill(decoder, prompts[2]), decoder.step):
        before = [buffer.clone() for buffer in decoder.buffers()]
        with torch.no_grad(), shared_prefix(model):
            for _ in range(3 if change == decoder.step else 0):
                decoder.step()
        if change != decoder.step:
            change()
        assert [buffer.data_ptr() for buffer in decoder.buffers()] == addresses
        changed = [not torch.equal(buffer, old) for buffer, old in zip(decoder.buffers(), before, strict=True)]
        assert sum(changed) >= 3 + 2 * model.config.text_config.num_hidden_layers


def test_a_row_that_has_ended_stands_still(
    model: PreTrainedModel, builder: PromptBuilder, prompts: list[Prompt]
) -> None:
    decoder = entered(model, builder, prompts, WARM)
    decoder.ended_A[1] = True  # whatever its token is
    ids_AC, logps_AC = decoder.ids_AC.clone(), decoder.logps_AC.clone()
    with torch.no_grad(), shared_prefix(model):
        for _ in range(4):
            decoder.step()
    assert torch.equal(decoder.ids_AC[1], ids_AC[1])
    assert torch.equal(decoder.logps_AC[1], logps_AC[1])
    assert decoder.column_A[:3].tolist() == [4, 0, 4]


@pytest.mark.parametrize("sampling", [GREEDY, WARM, CUT], ids=["greedy", "sampled", "nucleus"])
@pytest.mark.parametrize("with_adapters", [False, True], ids=["plain", "adapters"])
def test_a_step_compiles_as_one_graph_which_serves_after_a_refill_too(
    model: PreTrainedModel,
    builder: PromptBuilder,
    prompts: list[Prompt],
    sampling: Sampling,
    with_adapters: bool,
) -> None:
    torch.compiler.reset()
    counters.clear()
    policy = adapted(model) if with_adapters else model
    plain, compiled = (entered(policy, builder, prompts, sampling) for _ in range(2))
    step = torch.compile(compiled.step, fullgraph=True, backend="eager")
    for _ in range(2):
        with torch.no_grad(), shared_prefix(policy):
            for _ in range(3):
                plain.step()
                step()
        assert torch.equal(plain.ids_AC, compiled.ids_AC)
        assert len({tuple(ids_C.tolist()) for ids_C in plain.ids_AC}) > 2
        for decoder in (plain, compiled):
            refill(decoder, prompts[2])
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.gpu
@pytest.mark.parametrize("sampling", [GREEDY, WARM, CUT], ids=["greedy", "sampled", "nucleus"])
def test_captured_graphs_give_the_tokens_of_the_plain_loop(
    model: PreTrainedModel, builder: PromptBuilder, prompts: list[Prompt], sampling: Sampling
) -> None:
    favour_end(model, builder, by=3.5)
    torch.nn.Module.cuda(model)
    asked = jobs(prompts, COUNTS)
    expected = [plain_rows(model, builder, each, sampling) for each in asked]
    for most_rows in (None, 4):
        for pace in (GPU, SMALL_GPU):
            for completions, rows in zip(
                answer(model, builder, asked, sampling, most_rows, pace), expected, strict=True
            ):
                assert [row.ids_C.tolist() for row in completions] == [ids for ids, _ in rows]
