"""How the report writes numbers."""

from stages.evaluation.statistics import Estimate


def percent(estimate: Estimate) -> str:
    """A score with its interval: 78.9 % (74.1 to 83.0)."""
    return f"{100 * estimate.value:.1f} % ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def points(estimate: Estimate) -> str:
    """A difference of scores with its interval, in percentage points."""
    return f"{signed(estimate.value)} points ({signed(estimate.low)} to {signed(estimate.high)})"


def signed(share: float, places: int = 1) -> str:
    """A difference of scores in percentage points, with its sign."""
    return with_sign(100 * share, places)


def with_sign(value: float, places: int) -> str:
    """A number with its sign; what rounds to zero has none."""
    text = f"{value:+.{places}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def p_value(p: float) -> str:
    """A p-value to three places."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
