"""Text from outside, made safe to show in a log.

It may come from records, servers or files.
"""

import re

# Colours and other commands to a terminal.
TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])?")
# Control characters of C0 and C1 but the tab, line separators, marks of writing direction, surrogates.
UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(line: str) -> str:
    """A line without terminal escapes, and with other control characters spelled out."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), TERMINAL.sub("", line))
