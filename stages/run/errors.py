"""Errors that a person can fix."""

import os


class UserError(Exception):
    """Bad input or configuration.

    The message is one line that says what is wrong and what to change. It is shown without a traceback.
    """

    status = 1


class EndpointError(UserError):
    """A server failed and may come back.

    The same command can succeed later, so flows try it again.
    """

    status = os.EX_TEMPFAIL
