"""GLM-4.1V: whole seconds after each frame pair."""

from stages.model.glm import Glm


class Glm4V(Glm):
    """GLM-4.1V."""

    def stamp(self, seconds: float) -> str:
        """Whole seconds, without a unit."""
        return str(int(seconds))


FAMILY = Glm4V()
