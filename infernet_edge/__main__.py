"""`python -m infernet_edge` and the `infernet-edge` command."""

from __future__ import annotations

import io
import sys

from infernet_edge.executable import hold_folder, is_frozen, restore_environment


def main() -> int:
    """Run the command line; returns the exit code."""
    if is_frozen():
        if "--multiprocessing-fork" in sys.argv[1:2]:
            # A library has started a process with multiprocessing, and that is this executable
            # again. Imported only then: it is large.
            import multiprocessing

            multiprocessing.freeze_support()
        restore_environment()
        hold_folder()
    # A name of a file need not fit the terminal's encoding.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    from infernet_edge.cli.main import main as run_command

    return run_command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
