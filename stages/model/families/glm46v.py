"""GLM-4.6V as a type of its own: times in tenths of a second."""

from stages.model.glm import Glm

FAMILY = Glm("Glm46VProcessor")
