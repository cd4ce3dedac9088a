"""GLM-4.6V under a type of its own: tenths of a second after each frame pair."""

from stages.model.glm import Glm

FAMILY = Glm("Glm46VProcessor")
