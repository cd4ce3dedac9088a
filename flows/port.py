"""A port on the command line."""

import argparse

LARGEST = 65534  # `make ui` takes the next one too


def port_number(text: str) -> int:
    """The number of a port; the type of `--port`."""
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= LARGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: write a number from 1 to {LARGEST}")
    return int(text)
