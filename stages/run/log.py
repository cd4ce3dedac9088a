"""The log of a stage on stderr.

Text from data cannot pose as a line of the log.
"""

import logging
import re
import sys

# Control characters of C0 and C1, separators of lines and paragraphs, marks of direction, lone surrogates.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def set_up(stage: str) -> None:
    """Send the log of this project to stderr.

    Messages of libraries are shown from WARNING on.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeFormatter(f"%(asctime)s {stage}: %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    for ours in ("stages", "__main__"):
        logging.getLogger(ours).setLevel(logging.INFO)


def escaped(text: str) -> str:
    """The text on one line, with each unsafe character as its escape.

    A line break becomes `\\n`.
    """
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape", "backslashreplace").decode(), text)


class SafeFormatter(logging.Formatter):
    """Escapes the arguments of a message.

    Arguments may come from records, files and servers.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line; a traceback below it stays as it is."""
        if isinstance(record.args, tuple):
            safe = tuple(_safe(value) for value in record.args)
            record = logging.makeLogRecord(record.__dict__ | {"args": safe})
        return super().format(record)


def _safe(value: object) -> object:
    return value if isinstance(value, int | float | None) else escaped(str(value))
