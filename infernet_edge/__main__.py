"""`python -m infernet_edge` and the `infernet-edge` command."""

from __future__ import annotations

import sys

from infernet_edge.executable import is_frozen, restore_environment


def main() -> int:
    """Run the command line; returns the exit code."""
    if is_frozen():
        # First of all: what a library starts with multiprocessing is this executable again.
        import multiprocessing

        multiprocessing.freeze_support()
        restore_environment()
    from infernet_edge.cli.main import main as run_command

    return run_command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
