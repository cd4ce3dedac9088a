"""docs/experiments.md explains what `dvc metrics show` shows."""

from stages.evaluation.metrics import FEW
from tests.conftest import ROOT


def test_the_page_explains_every_figure() -> None:
    table = (ROOT / "docs" / "experiments.md").read_text().split("## Curves")[0]
    assert [name for name in FEW.values() if f"`{name}`" not in table] == []
