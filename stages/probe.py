"""The RL questions that a policy can learn from.

The policy, usually the SFT model, answers each RL question a few times with its frames in order, shuffled and without
frames. Rules then drop the questions that it answers without looking, whose order of frames does not matter, or that
it always or never answers rightly. The answers are kept: a change of a rule asks nothing again.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import torch
from pydantic import Field, JsonValue, model_validator

from stages.asking.collect import collect, conditions_of, engine_of, fitted, plan
from stages.asking.params import AskingParams
from stages.curation.funnel import Funnel
from stages.curation.probe_rules import NEEDED, PROBE_RULES, ProbeRule, ProbeRuleParams, judge, shares_of
from stages.data.conditions import Conditions, read_conditions, with_conditions
from stages.data.follower import Follower
from stages.data.grading import extract_answer, grade
from stages.data.matrix import ItemName
from stages.data.order import Order
from stages.data.outputs import Output
from stages.data.probed import PROBED_SCHEMA, ProbedRow
from stages.data.sample import (
    TRAINING_SCHEMA,
    Reject,
    Sample,
    iterate_samples,
    read_rejects,
    read_samples,
    write_rejects,
)
from stages.run.code import changed_files, hash_files, loaded_files
from stages.run.command import command
from stages.run.errors import UserError
from stages.run.files import iterate_rows, table_writer, write_json, write_table
from stages.run.work import work_dir
from stages.video.frame_store import FrameReader

log = logging.getLogger(__name__)

JUDGING = ("stages/curation/", "stages/probe.py")  # the code that no answer depends on


class ProbeParams(AskingParams, ProbeRuleParams):
    """Who is probed, how often, and which questions stay."""

    models: tuple[ItemName, ...] = Field(
        default=(),
        description="the folders in models/ that are probed; none: off. T-GRPO trains on what the rules keep where "
        "tgrpo.rl_folder is data/probed/<model>",
    )
    orders: tuple[Order, ...] = Field(
        default=("ordered", "shuffled", "blind"),
        min_length=1,
        description="the showings of each question, see evaluate.orders",
    )
    answers: int = Field(default=4, ge=1, description="answers to each question in each showing")
    temperature: float = Field(
        default=1.0, ge=0, description="of sampling, as in T-GRPO; 0: the likeliest token each time"
    )

    @model_validator(mode="after")
    def _asks_what_the_rules_need(self) -> "ProbeParams":
        if len(set(self.orders)) != len(self.orders):
            raise ValueError("orders must hold each order once")
        for rule in self.rules:
            if missing := [order for order in NEEDED[rule] if order not in self.orders]:
                raise ValueError(f"the rule {rule} needs the showing {missing[0]}: add it to orders")
        if self.temperature == 0 and self.answers > 1:
            raise ValueError("with temperature 0 all answers are the same: set answers 1 or a higher temperature")
        return self


def run(
    params: ProbeParams,
    name: str,
    model: str,
    questions: Path,
    frame_store: Path,
    answers: Path,
    out: Path,
    metrics: Path,
) -> None:
    """Ask `model` every RL question; write the questions that the rules keep.

    `model` is a folder, a hub name or the name of a served model; `name` names the work folder. `questions` is the
    folder with the filter's `rl.parquet` and `rejects.parquet`. The folder `out` gets both: the questions that stay,
    and the filter's rejects with those of the rules. The table `answers` is used as it is when it has the answers of
    the same model to the same questions, asked in the same way by the same code. New answers go to a journal as they
    come, so a killed run goes on where it was. UserError when the rules drop every question.
    """
    torch.set_num_threads(params.threads)
    asked = answer(params, name, model, questions / "rl.parquet", frame_store, answers)
    funnel, alone = choose(params, questions, answers, out)
    summary = {"rl": funnel.summary(), "kept_by_each_rule_alone": alone, "asked": asked}
    write_json(metrics, summary | {"showings": showing_counts(answers, params.right_above)})
    log.info("%s: %s; each rule alone keeps: %s", name, funnel.line(), in_words(alone))


def answer(params: ProbeParams, name: str, model: str, samples: Path, frame_store: Path, answers: Path) -> Conditions:
    """Write the table of answers unless it is there.

    Returns how the model was asked.
    """
    if not samples.is_file():
        raise UserError(f"{samples}: not there; `dvc repro filter` writes it")
    params = fitted(params.asking(model, None), "probe")
    reader = FrameReader(frame_store, samples)
    engine, model_files = engine_of(params, model, reader)
    work = work_dir(f"probe/{name}-{params.answers}", params.identity, [*model_files, samples])
    asked: Conditions = {
        **conditions_of(params, model_files, "probe"),
        "orders": list(params.orders),
        "answers": params.answers,
        "model_and_questions": work.parent.name,
    }
    if is_kept(answers, asked):
        log.info("%s: the answers in %s are used; nothing is asked", name, answers)
        return asked
    showings = plan(read_samples(samples), reader.sample_ids, params.orders, params.answers)
    reader.check(showing.sample.sample_id for showing in showings)
    outputs = collect(engine, showings, work, params.max_failed, "probe")
    rows = (probed_row(showing.sample, outputs[key]) for showing in showings for key in showing.keys)
    write_table(answers, rows, with_conditions(PROBED_SCHEMA, {**asked, "code": answering_code()}))
    return asked


def is_kept(answers: Path, asked: Conditions) -> bool:
    """Whether a table has all these answers, given by the present code."""
    found = read_conditions(answers) if answers.exists() else None
    if found is None or {**asked, "code": found.get("code")} != found:
        return False
    failed = any(row["status"] == "error" for row in iterate_rows(answers, ["status"]))
    return not failed and not changed_files(cast(dict[str, str], found["code"]))


def answering_code() -> dict[str, JsonValue]:
    """The hashes of the loaded files that answers depend on."""
    return {file: digest for file, digest in hash_files(loaded_files()).items() if not file.startswith(JUDGING)}


def probed_row(sample: Sample, output: Output) -> ProbedRow:
    """An output with its grade, which is the accuracy reward of T-GRPO."""
    given = extract_answer(output["text"])
    failed = output["status"] == "error"
    return {
        "sample_id": output["sample_id"],
        "order": output["order"],
        "text": output["text"],
        "status": output["status"],
        "answer": given,
        "grade": None if failed else grade(given, sample.answer, sample.problem_type, sample.options),
        "tokens": output["tokens"],
        "detail": output["detail"],
    }


def choose(params: ProbeParams, questions: Path, answers: Path, out: Path) -> tuple[Funnel, dict[ProbeRule, int]]:
    """Write the questions that the rules keep, and the rejects.

    Returns the counts, and how many questions each rule would keep alone, whether it runs or not. A rule whose showings
    were not asked is left out.
    """
    funnel = Funnel(params.rules)
    answerable: list[ProbeRule] = [rule for rule, needed in NEEDED.items() if set(needed) <= set(params.orders)]
    alone: dict[ProbeRule, int] = dict.fromkeys(answerable, 0)
    dropped, samples = read_rejects(questions / "rejects.parquet"), questions / "rl.parquet"
    probed = Follower(answers, ProbedRow)
    with table_writer(out / "rl.parquet", TRAINING_SCHEMA) as write:
        for sample, row in zip(iterate_samples(samples), iterate_rows(samples, TRAINING_SCHEMA.names), strict=True):
            shares = shares_of(probed.rows_of(sample.sample_id), params.right_above)
            verdict = judge(sample, shares, params)
            funnel.count(sample, verdict)
            for rule in answerable:
                alone[rule] += PROBE_RULES[rule](sample, shares, params) is None
            if isinstance(verdict, Reject):
                dropped.append(verdict)
            else:
                write(row)
        probed.finish()
        write_rejects(out / "rejects.parquet", dropped)
        if funnel.emptied:  # the set is not written, the rejects are
            raise UserError(
                f"no questions are left ({funnel.line()}); the reasons are in {out / 'rejects.parquet'}; "
                "loosen probe.rules or their bounds"
            )
    return funnel, alone


def showing_counts(answers: Path, right_above: float) -> dict[Order, dict[str, float | None]]:
    """Requests, replies and the share of right answers in each showing.

    The share is None where every request failed.
    """
    rows: dict[Order, list[ProbedRow]] = defaultdict(list)
    for row in cast(Iterator[ProbedRow], iterate_rows(answers)):
        rows[row["order"]].append(row)
    return {
        order: {
            "questions": len({row["sample_id"] for row in found}),
            "answers": len(found),
            "failed": sum(row["grade"] is None for row in found),
            "tokens": sum(row["tokens"] for row in found),
            "right": share.value if (share := shares_of(found, right_above).get(order)) else None,
        }
        for order, found in rows.items()
    }


def in_words(alone: Mapping[ProbeRule, int]) -> str:
    """The counts in one line."""
    return ", ".join(f"{rule} {count:,}" for rule, count in alone.items())


if __name__ == "__main__":
    command(run)
