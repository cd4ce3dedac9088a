"""The page of ten benchmarks and five models, in a real Chromium."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stages.reporting.cards import STATUSES
from tests.reporting.large import LARGE, make_large
from tests.reporting.made_up import write_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium: the page is tried in a real browser"),
]
OUTER = """<!doctype html><meta charset="utf-8"><pre></pre>
<iframe width="WIDTH" height="800" srcdoc="PAGE"></iframe>
<script>
const frame = document.querySelector("iframe"), told = [];
frame.onload = () => {
  const d = frame.contentDocument, w = frame.contentWindow, all = what => [...d.querySelectorAll(what)];
  const seen = what => all(what).filter(one => one.checkVisibility());
  SCRIPT
  document.querySelector("pre").textContent = JSON.stringify(told);
};
</script>"""
FILTERS = """
for (const status of STATUSES) {
  const radio = d.getElementById("show-" + status);
  if (!radio) continue;
  radio.click();
  const cards = seen("#examples article"), right = cards.every(card => card.classList.contains("is-" + status));
  told.push([status, radio.labels[0].textContent, cards.length, right]);
}
d.getElementById("show-only-in-order").click();
const kinds = d.querySelector("#examples select");
for (let number = 1; number < kinds.options.length; number++) {
  kinds.selectedIndex = number;
  const cards = seen("#examples article");
  const both = all(`#examples article.is-only-in-order.${kinds.value}`).length;
  const empty = seen("#examples .group").filter(one => !one.querySelector(`.is-only-in-order.${kinds.value}`)).length;
  told.push([kinds.value, cards.length, both, empty]);
}"""
MATRIX = """
for (const radio of all("#glance input")) {
  radio.click();
  const figures = seen("#glance .figure");
  told.push([radio.id, figures.length, figures.every(one => one.classList.contains(radio.id))]);
}"""
WIDTHS = """
for (const open of [false, true]) {
  for (const one of all("details")) one.open = open;
  const wide = all("table").filter(one => one.scrollWidth > w.innerWidth);
  told.push([w.innerWidth, d.documentElement.scrollWidth, wide.length]);
  told.push(wide.filter(one => one.parentElement.tabIndex < 0 || one.parentElement.scrollWidth <= w.innerWidth).length);
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("large")
    make_large(place, n_questions=40)
    return write_report(place, place / "index.html", LARGE)


def tried(page: str, place: Path, script: str, width: int = 1280) -> Any:
    """What a script tells about the page inside a frame of a width. The page itself has no script."""
    script = script.replace("STATUSES", json.dumps(list(STATUSES)))
    outer = OUTER.replace("SCRIPT", script).replace("WIDTH", str(width)).replace("PAGE", html.escape(page))
    (place / "outer.html").write_text(outer, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={place / 'profile'}"]
    command = ["chromium", *options, "--virtual-time-budget=20000", "--dump-dom", (place / "outer.html").as_uri()]
    drawn = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False).stdout
    [found] = re.findall(r"<pre>(.*?)</pre>", drawn)
    return json.loads(html.unescape(found))


def test_filters_show_what_they_name_and_no_empty_group(page: str, tmp_path: Path) -> None:
    told = tried(page, tmp_path, FILTERS)
    by_status = [row for row in told if row[0] in STATUSES]
    assert [status for status, *_ in by_status] == [status for status in STATUSES if f'id="show-{status}"' in page]
    for status, label, shown, right in by_status:
        assert (int(re.sub(r"\D", "", label)), right) == (shown, True), status
    by_kind = [row for row in told if row[0] not in STATUSES]
    assert len(by_kind) > 40
    assert [(shown, empty) for _, shown, _, empty in by_kind] == [(both, 0) for _, _, both, _ in by_kind]
    assert 0 < sum(both for _, _, both, _ in by_kind) == by_status[0][2]


def test_a_judge_is_named_in_every_table_that_it_touches_and_measured(page: str) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    name = "gemma3-270m at http://127.0.0.1:8001/v1, prompt judge-1"
    assert text.count("n = 40, by a judge") == 1
    assert f"every question, images too; scored by the judge {name}" in text
    assert re.search(rf"T-GRPO: judge {name}: official scores by it: .* it agrees with the rules on \d+\.\d%", text)
    assert 'id="show-judge"' in page


def test_how_far_answers_follow_from_thoughts_stands_beside_accuracy(page: str) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    five = r"(?:\d+\.\d \d+\.\d to \d+\.\d n = 100 ){5}"
    assert len(re.findall(rf"answers that change when the thought is exchanged {five}", text)) == 10


def test_every_cell_of_the_matrix_shows_the_chosen_figure_alone(page: str, tmp_path: Path) -> None:
    told = tried(page, tmp_path, MATRIX)
    views = ["ordered", "shuffled", "reversed", "blind", "shuffled-gap", "reversed-gap", "blind-gap"]
    assert told == [[f"see-{view}", 50, True] for view in views]


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_scrolls_down_alone_and_wide_tables_scroll_within_themselves(
    page: str, tmp_path: Path, width: int
) -> None:
    closed, _, opened, outside = tried(page, tmp_path, WIDTHS, width)
    assert [inner for inner, *_ in (closed, opened)] == [width, width]
    assert [whole <= width for _, whole, _ in (closed, opened)] == [True, True]
    assert outside == 0
    assert opened[2] > 0 or width == 1280
