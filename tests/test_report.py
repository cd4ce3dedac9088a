"""The report on a whole made-up project."""

import hashlib
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from stages.evaluation.benchmarks.shapes import TEMPORAL_FAMILIES
from stages.evaluation.predictions import read_predictions
from stages.run.errors import UserError
from stages.run.files import write_table
from tests.reporting.made_up import PARAMS, PREDICTIONS, make_project, write_report


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
    assert re.search(r"shapes\s+\d+\s+multiple choice\s+video\s+–", text)
    assert re.search(r"ingest\s+missing media\s+3", text)
    groups = "all shapes OCR free-form multiple choice numerical regression"
    assert f"samples by rule dropped by {groups} correctness 4 4 1 0 2 1 0 kept 36 36" in text


def test_accuracy_gap_and_interval_stand_in_the_lede(page: str) -> None:
    text = _text(page)
    assert re.search(
        r"T-GRPO scores 8\d\.\d % \(\d+\.\d to \d+\.\d\) on 210 questions that need the order of frames \(base", text
    )
    assert "This is a gain: chance alone does not explain it." in text
    assert "needs the order of frames" in text
    assert "do not show that" not in text
    assert "390 questions were asked. 1 more have no usable media and count in no score." in text
    assert "SFT: 0 of 390 without an answer, 0 cut off; T-GRPO: 0 of 390 without" in text


def test_each_curve_of_the_files_is_drawn(page: str) -> None:
    titles = [
        "Loss per token, log scale",
        "Reward",
        "Share of correct responses",
        "KL to the SFT model",
        "Share of questions that meet the temporal condition",
    ]
    assert all(f'aria-label="{title}"' in page for title in titles)
    assert 'aria-label="Entropy, nats"' not in page  # the file has no such column


def test_the_gallery_shows_frames_rollouts_refusals_and_mistakes(page: str) -> None:
    text = _text(page)
    assert re.search(r"Step 1\. Mean accuracy in order 0\.\d\d \(n = 8\), shuffled \d\.\d\d \(n = 4\)", text)
    assert "temporal 0.30" in text
    assert "filter sft: correctness, 4 dropped" in text
    assert text.count("reward 0.00 ≤ 0.6") == 4  # each of the four that were dropped
    assert text.index("Thoughts the filter kept") < text.index("What the rules dropped")
    assert re.search(r"Right only in order \d+ of 210 questions; 4 shown", text)
    assert "9 more responses of this group" in text


def test_what_is_right_only_in_order_is_shown_of_questions_that_need_the_order_of_frames(page: str) -> None:
    cards = re.findall(r'<article class="is-only-in-order.*?<p class="note">([\w-]+)</p>', page, re.DOTALL)
    assert len(cards) == 4
    assert set(cards) <= set(TEMPORAL_FAMILIES)


def test_wrong_answers_are_listed_by_kind_of_question(page: str) -> None:
    found = re.findall(r"<b>([\w-]+)</b>: (\d+) of (\d+) wrong(?:, (\d+) partly right)?", page)
    shown = [(kind, int(wrong) + int(partly or 0)) for kind, wrong, _, partly in found]
    assert shown == sorted(shown)
    assert {asked for _, _, asked, _ in found} == {"30"}
    assert any(partly for *_, partly in found)  # numbers are graded between 0 and 1
    section = page[page.index("<h3>Wrong") : page.index('<section id="data">')]
    assert section.count("<article") == min(PARAMS.mistakes, sum(below for _, below in shown))


def test_scores_and_gaps_are_drawn_by_kind_and_models_compared_in_pairs(page: str) -> None:
    assert 'aria-label="Score by kind of question, shapes"' in page
    assert 'aria-label="Points lost in other showings, shapes"' in page
    text = _text(page)
    assert re.search(r"Questions that need the order of frames n = 210 .*T-GRPO − SFT \+\d", text)
    difference = r"SFT − base model \+\d+\.\d \+\d+\.\d to \+\d+\.\d p < 0\.001"
    assert re.search(f"All questions n = 390 {difference}", text.replace("&lt;", "<"))


def test_the_papers_rows_are_shown_only_beside_a_benchmark_of_the_paper(
    project: Path, page: str, tmp_path: Path
) -> None:
    assert "Against the paper" not in page
    shutil.copytree(project, tmp_path / "with")
    place = tmp_path / "with"
    (place / "data/benchmarks/shapes-8").rename(place / "data/benchmarks/videomme-8")
    for model in PARAMS.models:
        (place / f"predictions/{model}-shapes-8.parquet").rename(place / f"predictions/{model}-videomme-8.parquet")
    params = PARAMS.model_copy(update={"benchmarks": ("videomme",)})
    text = _text(write_report(place, place / "index.html", params))
    assert re.search(r"Published .*Video-R1-7B 16 57\.4", text)
    assert re.search(r"T-GRPO ≤ 8 \d\d\.\d \d\d\.\d to \d\d\.\d n = 390 1–8 frames of 64×64 1 missing", text)


def test_several_benchmarks_begin_with_one_table_also_where_a_model_has_no_answer_and_no_order_but_one(
    project: Path, tmp_path: Path
) -> None:
    shutil.copytree(project, tmp_path / "two")
    place = tmp_path / "two"
    shutil.copytree(place / "data/benchmarks/shapes-8", place / "data/benchmarks/videomme-8")
    for model in PARAMS.models:
        rows = [
            row
            for row in read_predictions(place / f"predictions/{model}-shapes-8.parquet")
            if row["order"] == "ordered"
        ]
        if model == "base":
            for row in rows:
                row["status"], row["official"], row["video-r1"] = "error", None, None
        write_table(place / f"predictions/{model}-videomme-8.parquet", rows, PREDICTIONS)
    params = PARAMS.model_copy(update={"benchmarks": ("shapes", "videomme")})
    text = _text(write_report(place, place / "index.html", params))
    score, gap = r"\d+\.\d \d+\.\d to \d+\.\d", r"[+−]?\d+\.\d [+−]?\d+\.\d to [+−]?\d+\.\d"
    whole, ordered_only = rf"{score} {score} {gap} {score} {gap}", rf"{score} – – – –"
    table = rf"T-GRPO SFT base model shapes n = 390 {whole} {whole} {whole} videomme n = 390"
    assert re.search(rf"benchmark {table} {ordered_only} {ordered_only} – What the video and its order add", text)
    assert "T-GRPO gains on SFT on 2 of 2 benchmarks and loses on 0. The score of T-GRPO needs the order" in text
    assert "base model: 0 of 0 without an answer, 0 cut off, 390 requests failed and count in no score; SFT" in text


def test_leftovers_of_another_matrix_are_refused_because_a_clone_would_not_have_them(project: Path) -> None:
    with pytest.raises(UserError, match=r"predictions holds results that .* rm -r .*/tgrpo-shapes-8\.parquet$"):
        write_report(project, project / "none.html", PARAMS.model_copy(update={"models": ("base", "sft")}))


def test_the_navigation_has_the_order_of_the_page(page: str) -> None:
    navigation = re.findall(r'href="#([\w-]+)"', page[page.index("<nav>") : page.index("</nav>")])
    assert navigation == re.findall(r'<section id="([\w-]+)">', page)


def test_a_table_wider_than_the_page_scrolls_inside_its_own_frame(page: str) -> None:
    assert page.count("<table") == page.count('<div class="scroll" tabindex="0"><table')


def test_signs_are_typeset(page: str) -> None:
    assert not re.search(r"[> (]-\d", re.sub(r"<style>.*?</style>|<pre>.*?</pre>", "", page, flags=re.DOTALL))
    assert re.search(r"advantage <b>−1\.10</b>", page)


def test_the_filter_offers_the_statuses_and_kinds_that_the_cards_have(page: str) -> None:
    cards = re.findall(r'<article class="is-([\w-]+) k', page)
    offered = re.findall(r'id="show-([\w-]+)"> (\d+)', page)
    assert offered == [(status, str(cards.count(status))) for status in ("only-in-order", "blind", "wrong", "partly")]
    kinds = re.findall(r'<article class="is-[\w-]+ (k\w+)"', page)
    assert {value: int(count) for value, count in re.findall(r'<option value="(k\w+)">.*\((\d+)\)', page)} == {
        kind: kinds.count(kind) for kind in kinds
    }


def test_the_origin_stands_on_top_and_hashes_are_those_of_dvc(project: Path, page: str) -> None:
    header = _text(page[page.index("<header>") : page.index("</header>")])
    assert re.search(r"Seeds: none in params\.yaml\. Processor: .+, \d+ cores?\.", header)
    table = project / "data" / "sft.parquet"
    assert f"{table} {hashlib.md5(table.read_bytes()).hexdigest()}" in _text(page)


def test_plain_grpo_is_named_in_title_and_summary(page: str) -> None:
    assert "<title>T-GRPO gains on SFT and uses the order of frames; plain GRPO does as well</title>" in page
    assert "the temporal reward is not the reason for the gain" in page[: page.index("<nav>")]


def test_without_predictions_the_error_names_the_files(project: Path) -> None:
    with pytest.raises(UserError, match=r"no predictions at .*other-shapes-8\.parquet; run `dvc repro evaluate`"):
        write_report(project, project / "none.html", PARAMS.model_copy(update={"models": (*PARAMS.models, "other")}))


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
        if tag not in ("meta", "img", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)
