"""The paper's figures for its models (arXiv 2503.21776)."""

from dataclasses import dataclass

COLUMNS = ("vsi_bench", "videommmu", "mmvu", "mvbench", "tempcompass", "videomme")


@dataclass(frozen=True)
class Published:
    """One row of the paper's tables.

    `scores` holds the accuracy in percent on each benchmark of COLUMNS, None where the paper has none. That of
    VSI-Bench is (accuracy + MRA) / 2. `frames` is the frame budget, None where the paper does not say it.
    """

    model: str
    frames: int | None
    scores: tuple[float | None, ...]

    def score(self, benchmark: str) -> float | None:
        return self.scores[COLUMNS.index(benchmark)] if benchmark in COLUMNS else None


ROWS = (
    Published("GPT-4o", None, (34.0, 61.2, 75.4, None, None, 71.9)),
    Published("Qwen2.5-VL-7B, chain of thought", 16, (27.7, 47.8, 59.2, 57.4, 72.2, 53.1)),
    Published("Qwen2.5-VL-7B SFT", 16, (31.8, 47.4, 61.3, 59.4, 69.2, 52.8)),
    Published("Video-R1-7B", 16, (34.6, 49.8, 64.2, 62.7, 72.6, 57.4)),
    Published("Video-R1-7B", 32, (35.8, 52.3, 63.8, 63.9, 73.2, 59.3)),
    Published("Video-R1-7B", 64, (37.1, 52.4, 63.8, 64.8, 73.2, 61.4)),
    Published("Video-R1-7B without image data", 16, (32.3, 45.8, 60.6, 60.9, 69.8, 53.8)),
    Published("Video-R1-7B without temporal reward (GRPO)", 16, (32.7, 48.3, 62.1, 61.1, 71.3, 54.5)),
    Published("Video-R1-7B without SFT (zero)", 16, (31.8, 49.5, 63.8, 60.4, 70.9, 53.8)),
)
