"""GLM-4.6V as its own type: times in tenths of a second."""

from stages.model.glm import Glm

FAMILY = Glm("Glm46VProcessor")
