"""`python -m infernet_edge` and the `infernet-edge` command."""

from __future__ import annotations

import signal

_interruptible = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if _interruptible:
    # Ctrl+C while modules are imported, which takes a while on a slow machine, ends the process
    # without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import io  # noqa: E402
import sys  # noqa: E402

from infernet_edge.executable import is_frozen, lock_folder, restore_environment  # noqa: E402


def main() -> int:
    """Run the command line; returns the exit code."""
    if is_frozen():
        restore_environment()
        lock_folder()
    # A file name may have characters that the terminal's encoding lacks.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
    from infernet_edge.cli.main import main as run_command

    if _interruptible:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return run_command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
