"""The content of the page, and its template."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.evaluation.definition import Profile
from stages.reporting.benchmark_results import BenchmarkResult
from stages.reporting.cards import ORDER_LABELS, STATUSES, Card
from stages.reporting.charts import IntervalChart
from stages.reporting.curves import CurveChart
from stages.reporting.funnel import FunnelStep, RuleCounts
from stages.reporting.gallery import RolloutExamples, kind_of
from stages.reporting.numbers import signed, with_sign
from stages.reporting.paper_table import PaperTable
from stages.reporting.provenance import Provenance


@dataclass(frozen=True)
class Page:
    """Everything on the page.

    `added` is what the video and its order add for the last model, None where videos were shown in one way.
    `plain_grpo` is a note, or "". `base_note` says why the embedded base model scores zero, or is "". `hashes` are
    (file, MD5) of the files behind the page. `settings` is the text of params.yaml.
    """

    title: str
    lede: str
    plain_grpo: str
    base_note: str
    last_model: str
    profile: Profile
    results: list[BenchmarkResult]
    added: IntervalChart | None
    paper: PaperTable | None
    funnel: dict[str, list[FunnelStep]]
    rejects: list[tuple[str, str, int]]
    rules: dict[str, RuleCounts]
    sources: list[tuple[str, int, str, str, str]]
    compositions: dict[str, list[tuple[str, str, int]]]
    charts: dict[str, list[CurveChart]]
    rollouts: RolloutExamples
    kept: list[Card]
    dropped: dict[str, list[Card]]
    settings: str
    provenance: Provenance
    hashes: list[tuple[str, str]]

    @property
    def examples(self) -> list[Card]:
        """The examples of the last model's answers."""
        return [card for result in self.results for card in result.cards]


def render(page: Page) -> str:
    """The page as HTML.

    Every text is escaped, because questions and answers are untrusted.
    """
    template = environment().get_template("page.html.j2")
    return template.render(
        vars(page),
        labels=ORDER_LABELS,
        statuses=STATUSES,
        status_counts=Counter(card.status for card in page.examples),
        kind_counts=Counter(kind_of(card.sample) for card in page.examples),
    )


def environment() -> Environment:
    """The templates, with every text escaped."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "pct": _percentage,
        "signed": signed,
        "with_sign": with_sign,
        "kind_of": kind_of,
        "kind_class": _kind_class,
    }
    return templates


def _kind_class(kind: str) -> str:
    """A CSS class for a kind of question.

    The kind's name may hold any character.
    """
    return f"k{crc32(kind.encode()):08x}"


def _percentage(share: float) -> str:
    return f"{100 * share:.1f}"
