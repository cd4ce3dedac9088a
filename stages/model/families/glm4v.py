"""GLM-4.1V and GLM-4.6V-Flash: the folder's processor writes the times."""

from stages.model.glm import Glm

FAMILY = Glm("Glm4vProcessor")
