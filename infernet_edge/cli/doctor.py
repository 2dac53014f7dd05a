"""`infernet-edge doctor`: what is well, what is not, and what to do about it."""

from __future__ import annotations

import argparse
import json

from infernet_edge.cli.configuration import add_config_argument, load_or_explain

HELP = "find out what is wrong, and how to mend it"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_config_argument(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print all findings; returns 1 when there is a problem."""
    loaded = load_or_explain(arguments)
    if loaded is None:
        return 78
    import asyncio

    from infernet_edge.doctor.examination import examine

    findings = asyncio.run(examine(loaded.config, loaded.source))
    if arguments.json:
        print(
            json.dumps(
                {
                    name: {"level": found.level, "text": found.text, "remedy": found.remedy}
                    for name, found in findings.items()
                },
                indent=2,
            )
        )
    else:
        for warning in loaded.warnings:
            print(f"warning  configuration  {warning}")
        for name, found in findings.items():
            print(f"{found.level:<8} {name:<14} {found.text}")
            if found.remedy:
                print(f"{'':<24}to mend it: {found.remedy}")
    return 1 if any(found.level == "problem" for found in findings.values()) else 0
