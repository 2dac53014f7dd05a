"""`infernet-edge check`: validate the configuration. Nothing is started."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from infernet_edge.cli.configuration import (
    add_config_argument,
    empty_note,
    load_or_explain,
    use_service_environment,
)
from infernet_edge.cli.examples import add_examples

if TYPE_CHECKING:
    from infernet_edge.config import Config, Loaded

HELP = "check the configuration and list all its errors"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge check",
        "infernet-edge check --config config.toml --strict",
        "infernet-edge check --json",
    )
    add_config_argument(parser)
    parser.add_argument(
        "--strict", action="store_true", help="fail (78) when there are notes, not only errors"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Check; returns 0, or 78 when there are errors, or, with --strict, notes."""
    if arguments.json:
        return _run_json(arguments)
    loaded = load_or_explain(arguments)
    if loaded is None:
        return 78
    from infernet_edge.config.path_checks import certificate_problem

    if problem := certificate_problem(loaded.config.server):
        print(f"{loaded.source or 'the configuration'}: 1 error\n  {problem}", file=sys.stderr)
        return 78
    notes = _notes(loaded)
    for note in notes:
        print(f"note: {note}")
    containers = ", ".join(container.id for container in loaded.config.containers) or "none"
    print(f"{loaded.source or 'No file found, the defaults'}: no errors")
    print(f"  API         {loaded.config.server.host} port {loaded.config.server.port}")
    print(f"  containers  {containers}")
    print(f"  storage     {loaded.config.storage_path}")
    if loaded.config.log.path:
        print(f"  log         {loaded.config.log.path}")
    if arguments.strict and notes:
        print("With --strict the notes above count as errors.")
        return 78
    return 0


def _run_json(arguments: argparse.Namespace) -> int:
    """Print errors and notes as one JSON object; returns the same exit codes."""
    from infernet_edge.config.loading import load_valid_parts
    from infernet_edge.config.path_checks import certificate_problem

    use_service_environment(arguments)
    loaded, problems = load_valid_parts(arguments.config)
    if not problems and (problem := certificate_problem(loaded.config.server)):
        problems = [problem]
    notes = _notes(loaded)
    report: dict[str, Any] = {
        "source": str(loaded.source) if loaded.source else None,
        "valid": not problems,
        "errors": [problem._asdict() for problem in problems],
        "notes": notes,
    }
    if not problems:
        report |= {
            "api": {"host": loaded.config.server.host, "port": loaded.config.server.port},
            "containers": [container.id for container in loaded.config.containers],
            "storage": str(loaded.config.storage_path),
        }
        if loaded.config.log.path:
            report["log"] = loaded.config.log.path
    print(json.dumps(report, indent=2))
    return 78 if problems or (arguments.strict and notes) else 0


def _notes(loaded: Loaded) -> list[str]:
    note = empty_note(loaded)
    return [*loaded.warnings, *_replaced_hosts(loaded.config), *([note] if note else [])]


def _replaced_hosts(config: Config) -> Iterator[str]:
    """Which servers are searched on this machine, because of the names that they have."""
    from infernet_edge.config.host_names import LOOPBACK, host_of, replaced_hosts

    chain = config.chain
    servers = [chain.rpc_url] if isinstance(chain.rpc_url, str) else chain.rpc_url
    urls = [("chain.rpc_url", url) for url in servers] if chain.enabled else []
    urls += [(f"containers[{n}].url", each.url) for n, each in enumerate(config.containers)]
    replaced = replaced_hosts([url for _, url in urls])
    for path, url in urls:
        if (host := host_of(url)) in replaced:
            yield (
                f"{path}: {host} is a name that only containers know. It is taken for this"
                f" machine, {LOOPBACK}; write that instead."
            )
