"""The command line of a timing script."""

import argparse


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the script's own description."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
