"""The exceptions that a person, not a programmer, is meant to read."""

import os


class UserError(Exception):
    """Bad input or configuration: one line that says what is wrong and what to change. Shown without a traceback."""

    status = 1


class EndpointError(UserError):
    """A server that is asked has failed and may come back: the same command, run later, can succeed. Flows try it again."""

    status = os.EX_TEMPFAIL
