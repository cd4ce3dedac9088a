"""A picture of a sweep: a small chart per metric."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

COLUMNS, WIDTH, HEIGHT, HEADER = 3, 320, 200, 20
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 36, 40  # margins of a chart, pixels


def draw(title: str, labels: Sequence[str], metrics: Mapping[str, Sequence[float | None]]) -> str:
    """An SVG with a chart per metric.

    Each chart has a point per experiment. `labels` name the experiments, which stand from left to right.
    """
    charts = [chart(name, labels, values) for name, values in metrics.items()]
    places = [(index % COLUMNS * WIDTH, HEADER + index // COLUMNS * HEIGHT) for index in range(len(charts))]
    placed = "".join(
        f'<g transform="translate({x} {y})">{text}</g>' for (x, y), text in zip(places, charts, strict=True)
    )
    size = f'width="{COLUMNS * WIDTH}" height="{places[-1][1] + HEIGHT}"'
    head = f'<rect width="100%" height="100%" fill="white"/><text x="8" y="14">{escape(title)}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">{head}{placed}</svg>'
    )


def chart(title: str, labels: Sequence[str], values: Sequence[float | None]) -> str:
    """One chart; an experiment without the metric has no point."""
    present = [(index, value) for index, value in enumerate(values) if value is not None]
    low, high = min(value for _, value in present), max(value for _, value in present)
    across = (WIDTH - LEFT - RIGHT) / max(1, len(labels) - 1)
    up = (HEIGHT - TOP - BOTTOM) / ((high - low) or 1.0)
    points = [(LEFT + index * across, HEIGHT - BOTTOM - (value - low) * up) for index, value in present]
    floor = HEIGHT - BOTTOM
    parts = [f'<text x="8" y="20" font-weight="bold">{escape(title.rpartition("/")[2])}</text>']
    parts += [f'<path d="M{LEFT} {TOP}V{floor}H{WIDTH - RIGHT}" fill="none" stroke="#999"/>']
    parts += [
        f'<text x="{LEFT - 4}" y="{y + 4}" text-anchor="end">{value:.4g}</text>'
        for y, value in ((floor, low), (TOP, high))
    ]
    parts += [
        f'<text x="{LEFT + index * across:.1f}" y="{floor + 16}" text-anchor="middle">{escape(text)}</text>'
        for index, text in enumerate(labels)
    ]
    parts += [f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" fill="none" stroke="#1f5fbf"/>']
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="#1f5fbf"/>' for x, y in points]
    return "".join(parts)
