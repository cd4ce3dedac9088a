"""`make ui` for a toy checkout, as the flows' tests start it."""

from tests.flows.conftest import service, webhook

__all__ = ["service", "webhook"]
