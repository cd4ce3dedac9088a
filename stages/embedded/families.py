"""The families of embedded questions that need the order of frames."""

from typing import Final

TEMPORAL_FAMILIES: Final = ("direction", "order", "changes", "letters", "describe", "position", "end")
