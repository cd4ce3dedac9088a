"""The one exception that a person, not a programmer, is meant to read."""


class UserError(Exception):
    """Bad input or configuration: one line that says what is wrong and what to change. Shown without a traceback."""
