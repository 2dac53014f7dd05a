"""Output to a pipe whose reader may end early, as with `| head`."""

from __future__ import annotations

import os
import sys


def print_progress(text: str) -> None:
    """Print a line at once. Work that changes something continues without a reader."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        discard_output()


def flush_output() -> None:
    """Write what is buffered; Python itself would report a closed pipe at exit."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()


def discard_output() -> None:
    """Discard what is buffered, and what is still written to stdout."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
