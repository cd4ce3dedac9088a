"""What a file is that was never downloaded."""

HEAD = 4096  # bytes that show it

_PLACEHOLDERS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"),
    (b"<!doctype html", "an HTML page; download the file itself, by its raw link"),
    (b"<html", "an HTML page; download the file itself, by its raw link"),
)


def placeholder(head: bytes) -> str | None:
    """What a file is instead of the one that was wanted.

    `head` is its beginning. None for any other file.
    """
    start = head.lstrip().lower()
    return next((what for beginning, what in _PLACEHOLDERS if start.startswith(beginning)), None)
