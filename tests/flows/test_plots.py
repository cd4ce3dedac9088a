"""The page of `dvc plots`, which a browser shows without a network."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.flows.conftest import git, run_dvc

pytestmark = pytest.mark.integration


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """The page of `dvc plots diff` for a curve of 40 steps in two commits."""
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "config", "user.name", "somebody")
    git(tmp_path, "config", "user.email", "somebody@localhost")
    run_dvc(tmp_path, "init", "-q")
    shutil.copy(ROOT / ".dvc" / "config", tmp_path / ".dvc")
    shutil.copytree(ROOT / ".dvc" / "plots", tmp_path / ".dvc" / "plots")
    (tmp_path / "dvc.yaml").write_text('plots: [curve.csv: {x: step, y: loss, title: "Loss <b>"}]\n')
    write_curve(tmp_path / "curve.csv", 1.0)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    write_curve(tmp_path / "curve.csv", 2.0)
    run_dvc(tmp_path, "plots", "diff", "main")
    return tmp_path / "dvc_plots" / "index.html"


def write_curve(path: Path, height: float) -> None:
    """A curve that goes up and down around `height`; one step has no value."""
    rows = [f"{step},{height + step % 2 if step != 7 else ''}" for step in range(40)]
    path.write_text("\n".join(["step,loss", *rows, ""]))


def test_the_page_loads_nothing_from_elsewhere(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"(src|href)\s*=", text)
    assert '"loss": "2.0"' in text


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium: the page is opened in a real browser")
def test_each_run_is_a_raw_line_and_its_running_mean(page: Path) -> None:
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
    profile = f"--user-data-dir={page.parent / 'profile'}"
    command = ["chromium", *options, profile, "--virtual-time-budget=5000", "--dump-dom", page.as_uri()]
    drawn = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False).stdout
    lines = re.findall(r'<polyline points="([^"]+)"', drawn)
    assert [line.count(",") for line in lines] == [39, 39, 39, 39]
    assert [spread(raw) > 2 * spread(mean) for raw, mean in (lines[:2], lines[2:])] == [True, True]
    assert re.findall(r'class="legend"[^>]*>— (\w+)', drawn) == ["workspace", "main"]
    assert "<figcaption>Loss &lt;b&gt;</figcaption>" in drawn


def spread(points: str) -> float:
    """The height of a line without the three points at each end, where the mean is the curve."""
    heights = [float(point.split(",")[1]) for point in points.split()][3:-3]
    return max(heights) - min(heights)
