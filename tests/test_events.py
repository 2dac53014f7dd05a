"""The page of log events names what the code logs, and nothing else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final, get_args

from infernet_edge.chain.delivery.proofs import ProofVerdict
from infernet_edge.chain.delivery.record import DeliveryState
from infernet_edge.chain.subscriptions.store import SubscriptionState
from infernet_edge.chain.txm.store import Status
from infernet_edge.containers.service import ServiceState
from infernet_edge.events.bus import EVENT_TYPES
from tests.support.process import ROOT

PAGE: Final = ROOT / "infernet_edge/docs/events.md"
LEVELS: Final = {"debug", "info", "warning", "error"}

# Events whose names are made of a state.
STATES: Final = {
    "delivery": get_args(DeliveryState),
    "proof": tuple(verdict for verdict in get_args(ProofVerdict) if verdict != "awaited"),
    "subscription": tuple(
        state for state in get_args(SubscriptionState) if state not in ("active", "ignored")
    ),
    "transaction": get_args(Status),
}


def logged() -> Iterator[tuple[str, str]]:
    """The events that the code logs, each with its place."""
    for path in sorted((ROOT / "infernet_edge").rglob("*.py")):
        module = path.relative_to(ROOT / "infernet_edge").as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield from ((name, f"{module}:{node.lineno}") for name in _events(node))


def _events(call: ast.Call) -> Iterator[str]:
    function = ast.unparse(call.func)
    helper = function.rpartition(".")[2]
    if helper in ("log_event", "log_exception") and len(call.args) > 1:
        yield from _constants(call.args[1])
    elif function in ("logger.exception", "logger.error") and call.args:
        yield from _constants(call.args[0])
    elif helper == "log_container" and call.args:
        yield from (f"container.{verb}" for verb in _constants(call.args[0]))
    elif helper == "log_transaction" and len(call.args) > 1:
        yield from (f"transaction.{verb}" for verb in _constants(call.args[1]))
    elif helper == "_log_progress":
        yield from _constants(call.args[0])


def _constants(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        if (
            isinstance(each, ast.Constant)
            and isinstance(each.value, str)
            and re.fullmatch(r"[a-z]+(\.[a-z_]+)?|[a-z_]+", each.value)
        ):
            yield each.value


FOR_CLIENTS: Final = "## Events of GET /api/events"


def rows() -> list[list[str]]:
    """The rows of log events."""
    return _rows_of(PAGE.read_text().partition(FOR_CLIENTS)[0])


def rows_for_clients() -> list[list[str]]:
    """The rows of the events that clients can read."""
    return _rows_of(PAGE.read_text().partition(FOR_CLIENTS)[2])


def _rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def described() -> list[str]:
    return [name for row in rows() for name in re.findall(r"`([a-z]+\.[a-z_]+)`", row[0])]


def described_for_clients() -> list[str]:
    return [row[0].strip("`") for row in rows_for_clients()]


def test_every_event_is_described() -> None:
    known = set(described())
    missing = {f"{name} ({place})" for name, place in logged() if name not in known}
    missing |= {
        f"{noun}.{state}"
        for noun, states in STATES.items()
        for state in states
        if f"{noun}.{state}" not in known
    }
    assert missing == set()


def test_every_described_event_is_logged() -> None:
    found = {name for name, _ in logged()}
    found |= {f"{noun}.{state}" for noun, states in STATES.items() for state in states}
    found |= {"subscription.found", "subscription.ignored"}  # one of two, by a variable
    found.add("log.dropped")  # of the log itself, which cannot use it
    assert set(described()) - found == set()


def test_the_page_is_sorted_and_complete() -> None:
    names = [row[0] for row in rows()]
    assert names == sorted(names)
    assert len(described()) == len(set(described()))
    for event, level, meaning, *_ in rows():
        assert set(re.split(r", ", level)) <= LEVELS, event
        assert meaning.endswith((".", ")")), event


def published() -> set[str]:
    """The events that the code publishes for clients."""
    found = {f"container.{state}" for state in get_args(ServiceState)}
    found |= {f"delivery.{state}" for state in (*get_args(DeliveryState), "answered")}
    # An active one is found, and those that are ignored are not published.
    found |= {f"subscription.{state}" for state in STATES["subscription"]} | {"subscription.found"}
    for path in sorted((ROOT / "infernet_edge").rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("publish"):
                    variable = isinstance(call.args[0], ast.Name)
                    searched = function if variable else call.args[0]
                    found |= {name for name in _constants(searched) if "." in name}
                    if ast.unparse(call.func).endswith("service.publish"):
                        found |= {f"container.{verb}" for verb in _constants(searched)}
    return found


def test_every_event_for_clients_is_described() -> None:
    names = described_for_clients()
    assert names == sorted(set(names))
    assert set(names) == published()
    nouns = {noun for kind in EVENT_TYPES for noun in kind.nouns}
    assert {name.partition(".")[0] for name in names} <= nouns
    for _, meaning, readers in rows_for_clients():
        assert meaning.endswith(".")
        assert readers


def test_all_events_go_through_one_function() -> None:
    """So that fields and tracebacks look the same everywhere."""
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "infernet_edge").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and re.fullmatch(
            r"logger\.(exception|error|warning|info|debug|log)", ast.unparse(node.func)
        )
        and path.name != "logs.py"
    ]
    assert calls == []
