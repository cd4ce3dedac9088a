"""docs/parameters.md says what the parameter models say."""

import runpy
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import ROOT

WRITER: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "parameters.py"))
STAGES = ("shapes", "ingest", "benchmark", "frames", "annotate", "filter", "base", "sft", "tgrpo", "evaluate", "report")


def test_the_page_is_what_the_models_give() -> None:
    page: Callable[[], str] = WRITER["page"]
    assert (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8") == page(), "run `make docs`"


@pytest.mark.parametrize("stage", STAGES)
def test_every_parameter_has_a_description(stage: str) -> None:
    rows = list(WRITER["fields"](WRITER["model_of"](stage)))
    assert rows
    assert [name for name, _, _, meaning in rows if not meaning] == []
