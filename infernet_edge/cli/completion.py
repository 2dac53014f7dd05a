"""`infernet-edge completion`: the completion of commands, options and names for a shell."""

from __future__ import annotations

import argparse
import sys
from importlib import resources
from typing import Final

from infernet_edge.cli.examples import add_examples

HELP = "print the completion of commands and options for a shell"

_SHELLS: Final = ("bash", "zsh", "fish")
_TEXT: Final = """\
To use it in all new shells, as an ordinary user:

  bash   infernet-edge completion bash \\
           > ~/.local/share/bash-completion/completions/infernet-edge
  zsh    infernet-edge completion zsh > "${fpath[1]}/_infernet-edge"
  fish   infernet-edge completion fish \\
           > ~/.config/fish/completions/infernet-edge.fish

For bash the package bash-completion is needed then, and the folder has to exist. Names of
containers come from the configuration that infernet-edge finds without --config.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "source <(infernet-edge completion bash)",
        "source <(infernet-edge completion zsh)",
        "infernet-edge completion fish | source",
        text=_TEXT,
    )
    parser.add_argument(
        "shell", nargs="?", choices=_SHELLS, metavar="SHELL", help="bash, zsh or fish"
    )
    # For the completions: the names of the configured containers, one on each line.
    parser.add_argument("--containers", action="store_true", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Print the completion; returns 0, or 2 when no shell is named."""
    if arguments.containers:
        _print_containers()
        return 0
    if arguments.shell is None:
        print("expected the name of a shell: bash, zsh or fish", file=sys.stderr)
        return 2
    file = resources.files("infernet_edge").joinpath(f"completions/infernet-edge.{arguments.shell}")
    print(file.read_text("utf-8"), end="")
    return 0


def _print_containers() -> None:
    """Print the names of containers; none where the configuration has errors."""
    from infernet_edge.cli.text import visible
    from infernet_edge.config import ConfigurationError, load

    try:
        loaded = load(None)
    except ConfigurationError:
        return
    for container in loaded.config.containers:
        print(visible(container.id))
