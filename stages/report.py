"""Everything before it → one self-contained HTML page: what was learned, from what, and how far to trust it."""

import csv
import logging
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import Field

from stages.data.sample import read_rejects, read_samples
from stages.evaluation.benchmarks import get_benchmark
from stages.evaluation.definition import Profile
from stages.evaluation.metrics import slices
from stages.evaluation.predictions import read_predictions
from stages.reporting.charts import Series, interval_chart, line_chart
from stages.reporting.findings import Comparison, compare_models, label, signed
from stages.reporting.funnel import by_rule, composition, funnel, reasons, sources
from stages.reporting.gallery import Card, Mistakes, dropped_cards, kept_cards, mistakes, reliance_cards, rollout_cards
from stages.reporting.paper_table import against_paper
from stages.run.command import command
from stages.run.errors import UserError
from stages.run.files import sha256_file, write_atomic
from stages.run.params import Params
from stages.video.frame_store import FrameReader

log = logging.getLogger(__name__)

ORDERS = {"shuffled": "same frames shuffled", "reversed": "reversed", "single-frame": "one frame only"}

# What is drawn of plots/*.csv: title, and the columns in one chart with their names.
SFT_CHARTS = {"Loss per token": {"loss": "loss"}}
TGRPO_CHARTS = {
    "Reward": {"reward": "reward"},
    "Share of correct responses": {"p": "in order", "p_contrast": "shuffled"},
    "Response length, tokens": {"completion_tokens": "tokens"},
    "KL to the SFT model": {"kl": "KL"},
    "Questions that meet the temporal condition": {"condition_rate": "share"},
    "Groups without a signal (equal rewards)": {"zero_variance": "share"},
    "Effect of the temporal reward on advantages": {"temporal_effect": "effect"},
    "Entropy": {"entropy": "nats"},
}


class ReportParams(Params):
    models: tuple[str, ...] = Field(
        default=("base", "sft", "tgrpo"), min_length=1, description="in the order of training"
    )
    benchmarks: tuple[str, ...] = Field(default=("shapes",), min_length=1)
    frames: tuple[int, ...] = Field(
        default=(16,), min_length=1, description="per clip; dvc.yaml evaluates every combination of the three"
    )
    profile: Profile = "official"
    examples: int = Field(
        default=6, ge=0, le=50, description="in each part of the gallery; of dropped samples for each reason"
    )
    mistakes: int = Field(
        default=10, ge=0, le=200, description="wrong answers shown of each kind of question, per benchmark"
    )


def run(
    params: ReportParams,
    settings: Path,
    samples: Path,
    quarantine: Path,
    frame_store: Path,
    frame_keys: Path,
    frames_rejects: Path,
    annotations: Path,
    sft: Path,
    rl: Path,
    rejects: Path,
    sft_plot: Path,
    tgrpo_plot: Path,
    rollouts: Path,
    benchmarks: Path,
    predictions: Path,
    out: Path,
) -> None:
    """Write the page. `settings` is params.yaml; `benchmarks` and `predictions` are the folders of those stages."""
    read, refused = read_samples(samples), read_rejects(quarantine)
    by_id = {sample.sample_id: sample for sample in read}
    asked = pq.read_table(annotations).to_pylist()
    dropped, kept_sft, kept_rl = read_rejects(rejects), read_samples(sft), read_samples(rl)
    reader = FrameReader(frame_store, frame_keys)
    evaluations = [
        _Evaluation(name, budget, benchmarks, predictions, params)
        for name in params.benchmarks
        for budget in params.frames
    ]
    files = [
        samples,
        quarantine,
        frames_rejects,
        annotations,
        sft,
        rl,
        rejects,
        rollouts,
        *(path for each in evaluations for path in each.files),
    ]
    page = _page(
        comparisons=[each.comparison for each in evaluations],
        reliance=[card for each in evaluations for card in each.reliance(2)],
        wrong=[(each.comparison.name, each.mistakes(params.mistakes)) for each in evaluations],
        kinds=[_kinds(each.comparison) for each in evaluations],
        against=against_paper({run: found for each in evaluations for run, found in each.runs.items()}),
        labels=ORDERS,
        last_model=label(params.models[-1]),
        profile=params.profile,
        funnel=funnel(read, refused, len(reader.sample_ids), asked, len(kept_sft), len(kept_rl)),
        reasons=reasons([*refused, *read_rejects(frames_rejects), *dropped]),
        rules={"SFT": by_rule("SFT", kept_sft, dropped, by_id), "RL": by_rule("RL", kept_rl, dropped, by_id)},
        sources=sources(read),
        compositions={"SFT": composition(kept_sft), "RL": composition(kept_rl)},
        charts={"SFT": _charts(sft_plot, SFT_CHARTS), "T-GRPO": _charts(tgrpo_plot, TGRPO_CHARTS)},
        rollouts=rollout_cards(pq.read_table(rollouts).to_pylist(), by_id, reader, params.examples),
        kept=kept_cards(kept_sft, reader, params.examples),
        dropped=dropped_cards(dropped, asked, by_id, reader, params.examples),
        settings=settings.read_text(encoding="utf-8"),
        hashes=[(str(path), sha256_file(path)) for path in files],
    )
    write_atomic(out, page)
    for each in evaluations:
        log.info("%s: %s", each.comparison.name, " ".join(each.comparison.sentences))
    log.info("report of %d KB → %s", len(page) // 1024, out)


class _Evaluation:
    """One benchmark's predictions of all models with one frame budget."""

    def __init__(self, name: str, frames: int, benchmarks: Path, predictions: Path, params: ReportParams) -> None:
        folder = benchmarks / f"{name}-{frames}"
        self.files = [predictions / f"{model}-{name}-{frames}.parquet" for model in params.models]
        if missing := [str(path) for path in self.files if not path.exists()]:
            raise UserError(
                f"no predictions at {', '.join(missing)}; run evaluate, or mend report.models, .benchmarks, .frames"
            )
        rows = {model: read_predictions(path) for model, path in zip(params.models, self.files, strict=True)}
        questions = read_samples(folder / "samples.parquet")
        self._samples = {sample.sample_id: sample for sample in questions}
        self._reader = FrameReader(folder / "frames", folder / "frames.parquet")
        self._last = rows[params.models[-1]]
        self._profile = params.profile
        self._benchmark = get_benchmark(name)
        missing = len(read_rejects(folder / "quarantine.parquet"))
        self.runs = {(label(model), name, frames): (answers, missing) for model, answers in rows.items()}
        title = name if len(params.frames) == 1 else f"{name}, {frames} frames"
        self.comparison: Comparison = compare_models(
            title, rows, len(questions), missing, self._benchmark, params.profile
        )

    def reliance(self, count: int) -> list[Card]:
        """Of questions that need the order of frames, where the benchmark says which do."""
        wanted = slices(self._benchmark)
        rows = [row for row in self._last if wanted.get("temporal", wanted["all"])(row)]
        return reliance_cards(rows, self._samples, self._reader, self._profile, count)

    def mistakes(self, count: int) -> list[Mistakes]:
        return mistakes(self._last, self._samples, self._reader, self._profile, count)


def _kinds(comparison: Comparison) -> dict[str, Any]:
    """The two charts by kind of question: scores of all models, and the last one's gap to every other order."""
    scores = {name: [bar and bar.ordered for bar in bars] for name, bars in comparison.categories.items()}
    subsets = zip(("all questions", "temporal", "static"), comparison.slices.values(), strict=False)
    last = {name: bars[-1] for name, bars in (*subsets, *comparison.categories.items()) if bars}
    gaps = {
        name: [bar.others[order].gap if order in bar.others else None for order in comparison.orders]
        for name, bar in last.items()
        if bar and bar.others
    }
    return {
        "comparison": comparison,
        "scores": interval_chart(
            f"Score by kind of question, {comparison.name}", scores, [f"s{n}" for n in range(len(comparison.models))]
        ),
        "gaps": interval_chart(f"What other orders take away, {comparison.name}", gaps, comparison.orders),
    }


def _charts(path: Path, wanted: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    """The charts that `wanted` names and the file has finite values for."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    charts = []
    for title, columns in wanted.items():
        series = [
            Series(name, [float(row["step"]) for row in rows], [_number(row.get(column)) for row in rows], style)
            for (column, name), style in zip(columns.items(), ("main", "other"), strict=False)
        ]
        if svg := line_chart(title, series):
            charts.append(
                {
                    "title": title,
                    "svg": svg,
                    "legend": [(line.name, line.style) for line in series] if len(series) > 1 else [],
                }
            )
    return charts


def _number(text: str | None) -> float:
    return float(text) if text else math.nan


def _page(**content: Any) -> str:
    """The template with everything escaped: questions and answers are untrusted text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"pct": lambda share: f"{100 * share:.1f}", "signed": signed}
    return environment.get_template("report.html.j2").render(**content)


if __name__ == "__main__":
    command(run)
