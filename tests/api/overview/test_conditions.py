"""The texts of everything that needs a person: each has a reason, and says what to do."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from infernet_edge.api.overview import conditions
from infernet_edge.api.overview.certificate import Certificate
from infernet_edge.api.overview.conditions import FoundCondition
from infernet_edge.api.overview.forms import Attention
from infernet_edge.clock import milliseconds
from infernet_edge.config.loading import build
from infernet_edge.containers.service import LAST_FAILED, Service, make_services
from infernet_edge.hardware.usage import MachineState

DAY = 24 * 3600 * 1000
ENGINE = "Podman's socket does not exist"
LOOP = "it stopped 5 times in a row, most recently: it stopped with exit code 137 (killed)"


class Chain(NamedTuple):
    kind: str
    text: str
    subject: str = ""


def service(*, managed: bool = True) -> Service:
    where: dict[str, Any] = {"image": "x/y"} if managed else {"url": "http://10.0.0.9:1"}
    config, _ = build({"containers": [{"id": "voice", **where}]}, "a test", {})
    return make_services(config)["voice"]


def failed(reason: str, *, managed: bool = True) -> Service:
    found = service(managed=managed)
    found.set_failed(reason)
    return found


def starting(reason: str) -> Service:
    found = service()
    found.set_starting(reason)
    return found


def asleep(reason: str) -> Service:
    found = service()
    found.set_asleep(reason)
    return found


def only(found: Iterable[FoundCondition]) -> Attention:
    (each,) = found
    return each.attention


CASES = {
    "podman": conditions.of_engine(ENGINE),
    "container.crash_loop:voice": conditions.of_service(failed(LOOP), ENGINE),
    "container.failed:voice": conditions.of_service(failed("no such image"), ENGINE),
    "container.not_reached:voice": conditions.of_service(failed("no", managed=False), ENGINE),
    "container.not_woken:voice": conditions.of_service(asleep(f"{LAST_FAILED}no"), ""),
    "container.silent:voice": conditions.of_service(starting("it does not answer yet: no"), ""),
    "storage.full": conditions.of_storage("The disk is nearly full", Path("/x"), writable=True),
    "storage.not_written": conditions.of_storage("", Path("/x"), writable=False, problem="EIO"),
    "storage.salvaged:a b": conditions.of_salvages([(Path("/x/a b"), 3, None)]),
    "disk.filling": conditions.of_machine(MachineState(), 2.9),
    "machine.hot": conditions.of_machine(MachineState(throttled=True), None),
    "machine.under_voltage": conditions.of_machine(MachineState(under_voltage=True), None),
    "clock.wrong": conditions.of_clock(milliseconds() + DAY),
    "tls.ended": conditions.of_certificate(Certificate("00", milliseconds() - 1)),
    "tls.ends": conditions.of_certificate(Certificate("00", milliseconds() + 13 * DAY)),
    "task:listener": conditions.of_tasks(["The background task 'listener' fails (x); see the log"]),
    "hosts.refused": conditions.of_hosts(["a.example", "b.example"]),
    "access.open": conditions.of_access(open_to_network=True),
    "chain.rpc": conditions.of_chain([Chain("rpc", "No JSON-RPC server answers: x")]),
    "chain.server:a:1": conditions.of_chain([Chain("server", "refused", "a:1")]),
}


@pytest.mark.parametrize("name", CASES)
def test_each_has_a_reason_and_a_next_step(name: str) -> None:
    found = only(CASES[name])
    assert found.id == name
    for text in (found.text, found.fix):
        assert text[0].isupper()
        assert text.endswith((".", "?", "!"))
    assert found.title[0].isupper()
    assert not found.title.endswith(".")
    assert set(found.actions) <= {"restart", "log", "pull", "renew_token"}
    assert shlex.split(found.command) is not None
    assert json.dumps(found.text)


@pytest.mark.parametrize(
    "found",
    [
        conditions.of_engine(""),
        conditions.of_service(failed(ENGINE), ENGINE),  # Podman is one condition for all
        conditions.of_service(service(), ""),
        conditions.of_service(starting("its image is being pulled"), ""),
        conditions.of_service(asleep("it starts when a job needs it"), ""),
        conditions.of_storage("", Path("/x"), writable=True),
        conditions.of_salvages([]),
        conditions.of_machine(MachineState(throttled=False, under_voltage=False), 8.0),
        conditions.of_clock(milliseconds() - DAY),
        conditions.of_certificate(None),
        conditions.of_certificate(Certificate("00", None)),
        conditions.of_certificate(Certificate("00", milliseconds() + 15 * DAY)),
        conditions.of_tasks([]),
        conditions.of_hosts([]),
        conditions.of_access(open_to_network=False),
        conditions.of_chain([]),
    ],
)
def test_nothing_is_said_without_a_reason(found: Iterable[FoundCondition]) -> None:
    assert list(found) == []


def test_a_remedy_in_a_reason_is_the_fix() -> None:
    found = only(conditions.of_service(failed("no GPU. To fix it, connect it"), ""))
    assert (found.text, found.fix) == ("No GPU.", "Connect it.")
    found = only(conditions.of_service(failed(LOOP), ""))
    assert "memory" in found.fix
    assert found.command == "infernet-edge logs voice"


def test_a_path_in_a_command_is_quoted() -> None:
    found = only(conditions.of_salvages([(Path("/x/a b"), 3, 4)]))
    assert shlex.split(found.command) == ["rm", "/x/a b"]
    assert "3 of 4 rows" in found.text
    limit = "The storage limit is reached (storage.max_bytes)"
    found = only(conditions.of_storage(limit, Path("/x/a b"), writable=True))
    assert shlex.split(found.command)[-1] == "/x/a b"
    assert "jobs.retention" in found.fix


def test_several_conditions_of_one_kind_have_their_own_ids() -> None:
    found = conditions.of_chain([Chain("account", "a"), Chain("rpc", "b"), Chain("account", "c")])
    assert [each.attention.id for each in found] == [
        "chain.account",
        "chain.rpc",
        "chain.account:1",
    ]


def test_a_container_that_may_take_long_to_start_is_not_silent_before() -> None:
    loading = starting("it does not answer yet: no")
    (found,) = conditions.of_service(loading, "")
    assert found.after == 300
    loading.apply(msgspec.structs.replace(loading.container, startup_timeout=1800), managed=True)
    (found,) = conditions.of_service(loading, "")
    assert found.after == 1800
    late = failed("it was not ready within startup_timeout (1800 s): no")
    assert "raise startup_timeout" in only(conditions.of_service(late, "")).fix
