"""The report on a whole made-up project."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from stages.embedded.families import TEMPORAL_FAMILIES
from stages.evaluation.predictions import PREDICTION_SCHEMA, read_predictions
from stages.report import ReportParams
from stages.run.errors import UserError
from stages.run.files import write_table
from tests.reporting.made_up import PARAMS, make_project, write_report


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every input of the report."""
    place = tmp_path_factory.mktemp("project")
    make_project(place)
    return place


@pytest.fixture(scope="module")
def page(project: Path) -> str:
    return write_report(project, project / "report" / "index.html")


def test_the_page_stands_alone(page: str) -> None:
    outside = [value for value in _attributes(page, "src", "href") if not value.startswith(("data:image/", "#"))]
    assert outside == []
    assert len(_attributes(page, "src")) > 50
    assert "url(" not in page


def test_untrusted_text_is_escaped_everywhere(page: str) -> None:
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 3  # a question, a teacher's thought, a model's answer


def test_every_tag_is_closed(page: str) -> None:
    checker = _Balance()
    checker.feed(page)
    assert checker.open == []
    assert checker.faults == []


def test_the_same_inputs_give_the_same_page_wherever_and_whenever(project: Path, page: str) -> None:
    assert write_report(project, project / "again.html") == page


def test_the_funnel_and_its_reasons_are_counted(page: str) -> None:
    text = _text(page)
    assert "records read 63" in text
    assert "valid, with readable media 60" in text
    assert "frames extracted 58" in text
    assert re.search(r"filter sft\s+correctness\s+4", text)
    assert re.search(r"shapes\s+–\s+multiple choice\s+video\s+\d+", text)
    assert re.search(r"ingest\s+missing media\s+3", text)
    groups = "all shapes OCR free-form multiple choice numerical regression"
    assert f"samples by rule dropped by {groups} correctness 4 4 1 0 2 1 0 kept 36 36" in text


def test_accuracy_gap_and_interval_stand_in_the_lede(page: str) -> None:
    text = _text(page)
    assert re.search(
        r"T-GRPO scores 8\d\.\d % \(\d+\.\d to \d+\.\d\) on 210 questions that need the order of frames; base", text
    )
    assert "This is a gain: chance alone does not explain it." in text
    assert "needs the order of frames" in text
    assert "do not show that" not in text
    assert "shapes: 390 questions, 1 more without usable media" in text
    assert "SFT: 0.0 % without an answer, 0.0 % cut off; T-GRPO: 0.0 % without" in text


def test_each_curve_of_the_files_is_drawn(page: str) -> None:
    titles = [
        "Loss per token",
        "Reward",
        "Share of correct responses",
        "KL to the SFT model",
        "Share of questions that meet the temporal condition",
    ]
    assert all(f'aria-label="{title}"' in page for title in titles)
    assert 'aria-label="Entropy, nats"' not in page  # the file has no such column


def test_the_gallery_shows_frames_rollouts_refusals_and_mistakes(page: str) -> None:
    text = _text(page)
    assert re.search(
        r"Step 1\. Mean accuracy in order: 0\.\d\d of 8 responses\. Shuffled: \d\.\d\d of 4 responses\.", text
    )
    assert "temporal 0.30" in text
    assert "filter sft: correctness, 4 dropped" in text
    assert text.count("reward 0.00 ≤ 0.6") == 4  # each of the four that were dropped
    assert text.index("Thoughts the filter kept") < text.index("What the filter dropped")
    assert "T-GRPO on shapes: right in order, wrong when shuffled" in text
    assert "9 more responses of this group" in text


def test_what_was_wrong_when_shuffled_is_shown_of_questions_that_need_the_order_of_frames(page: str) -> None:
    start = page.index("right in order, wrong when shuffled")
    section = page[start : page.index("</section>", start)]
    kinds = re.findall(r'<p class="note">([\w-]+)</p>', section)
    assert len(kinds) == section.count("<article>") == 2
    assert set(kinds) <= set(TEMPORAL_FAMILIES)


def test_wrong_answers_are_listed_by_kind_of_question(page: str) -> None:
    found = re.findall(r"<b>([\w-]+)</b>: (\d+) of (\d+) wrong(?:, (\d+) partly right)?", page)
    shown = [(kind, int(wrong) + int(partly or 0)) for kind, wrong, _, partly in found]
    assert shown == sorted(shown)
    assert {asked for _, _, asked, _ in found} == {"30"}
    assert any(partly for *_, partly in found)  # numbers are graded between 0 and 1
    section = page[page.index('<section id="wrong">') : page.index('<section id="run">')]
    assert section.count("<article>") == sum(min(below, PARAMS.mistakes) for _, below in shown)


def test_scores_and_gaps_are_drawn_by_kind_and_models_compared_in_pairs(page: str) -> None:
    assert 'aria-label="Score by kind of question, shapes"' in page
    assert 'aria-label="Points lost in other orders, shapes"' in page
    text = _text(page)
    assert re.search(r"T-GRPO − SFT Questions that need the order of frames 210 \+\d", text)
    assert re.search(
        r"SFT − base model All questions 390 \+\d+\.\d \+\d+\.\d to \+\d+\.\d p < 0\.001", text.replace("&lt;", "<")
    )


def test_the_papers_rows_are_shown_only_beside_a_benchmark_of_the_paper(
    project: Path, page: str, tmp_path: Path
) -> None:
    assert "Against the paper" not in page
    shutil.copytree(project, tmp_path / "with")
    place = tmp_path / "with"
    (place / "data/benchmarks/shapes-8").rename(place / "data/benchmarks/mvbench-8")
    for model in PARAMS.models:
        (place / f"predictions/{model}-shapes-8.parquet").rename(place / f"predictions/{model}-mvbench-8.parquet")
    params = PARAMS.model_copy(update={"benchmarks": ("mvbench",)})
    text = _text(write_report(place, place / "index.html", params))
    assert re.search(r"Video-R1-7B published 16 62\.7", text)
    assert re.search(r"T-GRPO measured ≤ 8 \d\d\.\d \d\d\.\d to \d\d\.\d, n = 390 1–8 frames of 64×64 1 missing", text)


def test_several_benchmarks_begin_with_one_table_also_where_a_model_has_no_answer_and_no_order_but_one(
    project: Path, tmp_path: Path
) -> None:
    shutil.copytree(project, tmp_path / "two")
    place = tmp_path / "two"
    shutil.copytree(place / "data/benchmarks/shapes-8", place / "data/benchmarks/mvbench-8")
    for model in PARAMS.models:
        rows = [
            row
            for row in read_predictions(place / f"predictions/{model}-shapes-8.parquet")
            if row["order"] == "ordered"
        ]
        if model == "base":
            for row in rows:
                row["status"], row["official"], row["video-r1"] = "error", None, None
        write_table(place / f"predictions/{model}-mvbench-8.parquet", rows, PREDICTION_SCHEMA)
    params = PARAMS.model_copy(update={"benchmarks": ("shapes", "mvbench")})
    text = _text(write_report(place, place / "index.html", params))
    score = r"\d+\.\d \d+\.\d to \d+\.\d"
    gap = r"\+\d+\.\d \+\d+\.\d to \+\d+\.\d"
    assert re.search(
        rf"gap to shuffled shapes 390( {score}){{3}} {gap} mvbench 390 –( {score}){{2}} – shapes in words", text
    )
    assert (
        "base model: 0.0 % without an answer, 0.0 % cut off, 390 requests failed, which count in no score; SFT" in text
    )


def test_without_predictions_the_error_names_the_files(project: Path) -> None:
    with pytest.raises(UserError, match=r"no predictions at .*other-shapes-8\.parquet; run `dvc repro evaluate`"):
        write_report(project, project / "none.html", ReportParams(models=("base", "other"), frames=(8,)))


def _attributes(page: str, *names: str) -> list[str]:
    return re.findall(rf'\b(?:{"|".join(names)})="([^"]*)"', re.sub(r"&lt;.*?&gt;", "", page))


def _text(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)))


class _Balance(HTMLParser):
    """Checks that tags are closed in the order they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)
