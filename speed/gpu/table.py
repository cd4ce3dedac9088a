"""What was measured, beside the goal, the plan and the limit."""

from dataclasses import asdict, dataclass
from pathlib import Path

from speed.gpu.data import Lengths
from stages.model.load import load_config
from stages.plan import plan_sft, plan_tgrpo
from stages.planning.machine import Machine
from stages.planning.media import Media
from stages.planning.size import ModelSize, model_size
from stages.planning.work import Shape, decode, encode, prefill, score_group, trained
from stages.sft import SftParams
from stages.tgrpo import TgrpoParams

GIB = 2**30
QUESTIONS, PROMPTS = 8, 16
GROUP, CONTRAST = 8, 4


@dataclass(frozen=True)
class Row:
    """One figure; None where there is nothing to compare with."""

    name: str
    unit: str
    measured: float
    limit: float | None = None
    planned: float | None = None
    released: float | None = None
    gib: float = 0.0
    planned_gib: float | None = None

    def text(self) -> str:
        """The row for a person."""
        compared = (self.limit, self.planned, self.released)
        cells = "".join(f"{'–' if value is None else f'{value:.4g}':>12}" for value in compared)
        planned = "–" if self.planned_gib is None else f"{self.planned_gib:.1f}"
        return f"{self.name:<34}{self.measured:>12.4g}{cells}{self.gib:>10.1f}{planned:>10}  {self.unit}"


HEADER = f"{'':<34}{'measured':>12}{'limit':>12}{'planned':>12}{'released':>12}{'GiB':>10}{'planned':>10}"


@dataclass(frozen=True)
class Limits:
    """The least that each part can take, and the plan."""

    size: ModelSize
    host: Machine
    shape: Shape

    @classmethod
    def of(cls, folder: Path, lengths: Lengths, visual: int, host: Machine) -> "Limits":
        """Those of a model folder."""
        shape = Shape(lengths.prompt, visual, (lengths.frames + 1) // 2, lengths.completion)
        return cls(model_size(load_config(folder)), host, shape)

    @property
    def media(self) -> Media:
        """The questions as the plan takes them: all of one size."""
        visual, grids = self.shape.visual, self.shape.grids
        return Media(visual, grids, visual, grids, videos=1.0, least_visual=visual)

    def read(self) -> float:
        """Seconds to read the bf16 weights of the language model once."""
        return 2 * (self.size.total - self.size.vision) / self.host.bandwidth

    def prefill(self) -> float:
        """Seconds of the prompts at the peak."""
        work = (prefill(self.shape) + encode(self.shape, self.size)) * PROMPTS
        return self.host.seconds(work.flops(self.size), mfu=1.0)

    def sft(self) -> float:
        """Tokens per second at the peak.

        With adapters the weights have no gradient: a token takes 4 · N operations.
        """
        return self.host.flops / (4 * (self.size.total - self.size.vision))

    def step(self) -> float:
        """Seconds of a T-GRPO step.

        Its arithmetic is done at the peak, and the weights are read once per token.
        """
        scored = score_group(self.shape, GROUP)
        decoded = decode(self.shape, GROUP + CONTRAST)
        work = (scored + trained(scored, False) + decoded) * QUESTIONS
        return self.prefill() + self.host.seconds(work.flops(self.size), 1.0) + self.shape.completion * self.read()

    def planned_sft(self, params: SftParams) -> tuple[float, float]:
        """Tokens per second and GiB as `make plan` says."""
        plan = plan_sft(
            params, self.size, self.media, int(self.shape.completion), None, self.host, self.host.mfu("sft")
        )
        return plan.tokens / plan.seconds, plan.memory / GIB

    def planned_tgrpo(self, params: TgrpoParams) -> tuple[float, float]:
        """Seconds of a step and GiB as `make plan` says."""
        plan = plan_tgrpo(params, self.size, self.media, self.host, self.host.mfu("tgrpo"))
        return plan.seconds, plan.memory / GIB


RowValues = dict[str, float | str | None]


def as_json(rows: list[Row]) -> dict[str, RowValues]:
    """The rows by name."""
    return {row.name: asdict(row) for row in rows}
