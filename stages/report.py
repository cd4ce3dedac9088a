"""Everything before it → one HTML page that needs no other file."""

import logging
from pathlib import Path
from typing import cast

import pyarrow.parquet as pq
from pydantic import ConfigDict, Field

from stages.data.annotations import AnnotationRow
from stages.data.matrix import Matrix, check_leftovers
from stages.data.rollouts import RolloutRow
from stages.data.sample import read_rejects, read_samples
from stages.evaluation.definition import Profile
from stages.reporting.benchmark_results import BenchmarkResult, added_chart, benchmark_result
from stages.reporting.comparison import label
from stages.reporting.curves import SFT_CURVES, TGRPO_CURVES, curve_charts
from stages.reporting.findings import base_note, page_lede, page_title, plain_grpo_note
from stages.reporting.funnel import composition, funnel, reject_counts, rule_counts, source_counts
from stages.reporting.gallery import dropped_cards, kept_cards, rollout_examples
from stages.reporting.page import Page, render
from stages.reporting.paper_table import paper_table
from stages.reporting.provenance import md5_hashes, provenance
from stages.run.command import command
from stages.run.files import write_atomic
from stages.run.params import read_sections
from stages.video.frame_store import FrameReader

log = logging.getLogger(__name__)


class ReportParams(Matrix):
    """What the page compares, and how many examples it shows."""

    model_config = ConfigDict(extra="forbid")

    profile: Profile = Field(default="official", description="whose scoring the page shows")
    examples: int = Field(
        default=6, ge=0, le=50, description="cards in each part of the gallery, and for each reason of the filter"
    )
    mistakes: int = Field(
        default=40, ge=0, le=2000, description="wrong answers shown per benchmark, from each kind of question in turn"
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
    sft_plot: Path,
    tgrpo_plot: Path,
    rollouts: Path,
    benchmarks: Path,
    predictions: Path,
    out: Path,
) -> None:
    """Write the page.

    `settings` is params.yaml; its `tgrpo.rl_folder` is the folder of the RL set. `benchmarks` and `predictions` are the
    folders of the stages benchmark and evaluate.
    """
    sections = read_sections(settings)
    rl_folder = Path(cast(dict[str, dict[str, str]], sections)["tgrpo"]["rl_folder"])
    rl, rejects = rl_folder / "rl.parquet", rl_folder / "rejects.parquet"
    read, refused = read_samples(samples), read_rejects(quarantine)
    by_id = {sample.sample_id: sample for sample in read}
    answers = cast(list[AnnotationRow], pq.read_table(annotations).to_pylist())
    dropped, kept_sft, kept_rl = read_rejects(rejects), read_samples(sft), read_samples(rl)
    reader = FrameReader(frame_store, frame_keys)
    kept_rollouts = cast(list[RolloutRow], pq.read_table(rollouts).to_pylist())
    results = _results(params, benchmarks, predictions)
    files = [samples, quarantine, frames_rejects, annotations, sft, rl, rejects, rollouts, sft_plot, tgrpo_plot]
    files += [path for result in results for path in result.files]
    page = Page(
        title=page_title(params.models, params.benchmarks, [result.findings for result in results]),
        lede=page_lede(params.models, [result.findings for result in results]),
        plain_grpo=plain_grpo_note(params.models, params.benchmarks),
        base_note=base_note(sections),
        last_model=label(params.models[-1]),
        profile=params.profile,
        results=results,
        added=added_chart([result.comparison for result in results]),
        paper=paper_table([run for result in results for run in result.runs]),
        funnel=funnel(read, refused, len(reader.sample_ids), answers, len(kept_sft), len(kept_rl), dropped),
        rejects=reject_counts([*refused, *read_rejects(frames_rejects), *dropped]),
        rules={"SFT": rule_counts("SFT", kept_sft, dropped, by_id), "RL": rule_counts("RL", kept_rl, dropped, by_id)},
        sources=source_counts(read),
        compositions={"SFT": composition(kept_sft), "RL": composition(kept_rl)},
        charts={"SFT": curve_charts(sft_plot, SFT_CURVES), "T-GRPO": curve_charts(tgrpo_plot, TGRPO_CURVES)},
        rollouts=rollout_examples(kept_rollouts, by_id, reader, params.examples),
        kept=kept_cards(kept_sft, reader, params.examples),
        dropped=dropped_cards(dropped, answers, by_id, reader, params.examples),
        settings=settings.read_text(encoding="utf-8"),
        provenance=provenance(sections),
        hashes=md5_hashes(files),
    )
    text = render(page)
    write_atomic(out, text)
    for result in results:
        log.info("%s: %s", result.comparison.name, " ".join(result.findings.sentences))
    log.info("report of %d KB → %s", len(text) // 1024, out)


def _results(params: ReportParams, benchmarks: Path, predictions: Path) -> list[BenchmarkResult]:
    """One result for each benchmark and number of frames.

    UserError when the folders hold more than these.
    """
    check_leftovers(benchmarks, params.benchmark_folders)
    check_leftovers(predictions, params.prediction_files)
    return [
        benchmark_result(
            name,
            frames,
            name if len(params.frames) == 1 else f"{name}, {frames} frames",
            params.models,
            benchmarks,
            predictions,
            params.profile,
            params.mistakes,
        )
        for name, frames in params.benchmark_items
    ]


if __name__ == "__main__":
    command(run)
