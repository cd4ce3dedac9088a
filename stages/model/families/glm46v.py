"""GLM-4.6V: tenths of a second after each frame pair."""

from stages.model.glm import Glm


class Glm46V(Glm):
    """GLM-4.6V."""

    def stamp(self, seconds: float) -> str:
        """Seconds with one digit after the point."""
        return f"{seconds:.1f} seconds"


FAMILY = Glm46V()
