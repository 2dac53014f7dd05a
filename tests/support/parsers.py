"""The commands of the command line, and what they take, from its parsers."""

from __future__ import annotations

import argparse

_INTERNAL = "==SUPPRESS=="


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands below a command, without those that only units and other versions run."""
    # argparse has no public way to them.
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            shown = {choice.dest for choice in action._choices_actions}  # noqa: SLF001
            return {name: each for name, each in action.choices.items() if name in shown}
    return {}


def options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """What a command takes, without -h and what is hidden."""
    return [
        action
        for action in parser._actions  # noqa: SLF001
        if action.help != _INTERNAL
        and not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)  # noqa: SLF001
    ]
