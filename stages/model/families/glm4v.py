"""GLM-4.1V and GLM-4.6V-Flash: a time after each frame pair, as the folder's processor writes it."""

from stages.model.glm import Glm

FAMILY = Glm("Glm4vProcessor")
