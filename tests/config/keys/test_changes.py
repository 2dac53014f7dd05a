"""Which keys differ between two configurations, and what a change of each needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from infernet_edge.config.keys.changes import (
    RECREATING,
    RELOADED,
    change_of,
    changed_keys,
    effective,
    without_recreating,
)
from infernet_edge.config.keys.types import field_types, item_struct_of, struct_of
from infernet_edge.config.loading import build
from infernet_edge.config.model import Config, Container
from infernet_edge.containers.specification import make_specification

ECHO = {"id": "echo", "image": "localhost/echo:1"}


def made(**document: Any) -> Config:
    return build({"storage": {"path": "/data"}, **document}, "test", {})[0]


def keys(target: type[msgspec.Struct] = Config, prefix: str = "") -> set[str]:
    found = set()
    for name, hint in field_types(target).items():
        below = struct_of(hint)
        found |= {f"{prefix}{name}"} | (keys(below, f"{prefix}{name}.") if below else set())
    return found


def test_each_reloaded_key_exists() -> None:
    assert keys() >= RELOADED


def test_changed_keys_are_named() -> None:
    before = made(containers=[ECHO, {"id": "gone", "url": "http://host"}])
    after = made(
        containers=[{**ECHO, "env": {"A": "1"}, "timeout": 5}, {"id": "new", "url": "http://host"}],
        server={"port": 4001, "rate_limit": {"period": 5}, "tokens": {"a": "x" * 32}},
        jobs={"retention": 7200},
    )
    assert changed_keys(before, before) == []
    changed = changed_keys(before, after)
    assert set(changed) == {
        "server.port",
        "server.rate_limit.period",
        "server.tokens",
        "jobs.retention",
        "containers[echo].env",
        "containers[echo].timeout",
        "containers[gone]",
        "containers[new]",
    }
    assert [key for key in changed if change_of(key) == "restart"] == ["server.port"]


def test_another_order_of_containers_is_a_change() -> None:
    one, two = ECHO, {"id": "two", "url": "http://host"}
    assert changed_keys(made(containers=[one, two]), made(containers=[two, one])) == ["containers"]


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("jobs.max_pending", "reload"),
        ("docker.password", "reload"),
        ("containers[a.b].env", "reload"),
        ("containers", "reload"),
        ("server.tls.cert", "reload"),
        ("server.tls", "restart"),
        ("server", "restart"),
        ("server.rate_limit.period", "reload"),
        ("server.port", "restart"),
        ("log.path", "restart"),
        ("chain.enabled", "restart"),
    ],
)
def test_what_a_change_needs(key: str, change: str) -> None:
    assert change_of(key) == change


def test_what_is_in_force_after_a_reload() -> None:
    before = made(containers=[ECHO])
    after = made(
        server={"port": 4001, "allowed_hosts": ["host.example"]},
        jobs={"max_pending": 5},
        containers=[{**ECHO, "id": "other"}],
        log={"backup_count": 9},
    )
    force = effective(before, after)
    assert changed_keys(force, after) == ["log.backup_count", "server.port"]
    assert changed_keys(before, force) == [
        "server.allowed_hosts",
        "containers[echo]",
        "containers[other]",
        "jobs.max_pending",
    ]


def specification(container: Container) -> str:
    made = make_specification(container, "node", container.image, {"memory", "cpu", "pids"}, 5)
    fingerprint: str = made["labels"]["io.infernet-edge.specification"]
    return fingerprint


OTHER = {
    "image": "localhost/echo:2",
    "port": 3456,
    "container_port": 3456,
    "init": False,
    "gpu": "nvidia.com/gpu=0",
    "command": "--other",
    "env": {"A": "1"},
    "volumes": ["data:/data"],
    "memory": "512m",
    "cpus": 1.5,
    "pids": 7,
    "shm_size": "1g",
    "devices": ["/dev/null"],
}


def test_a_new_container_is_needed_for_what_podman_is_asked_for(tmp_path: Path) -> None:
    """The keys that change the specification, which decides whether a container is adopted."""
    plain = Container(id="echo", image="localhost/echo:1")
    file = tmp_path / "service.env"
    file.write_text("A=2\n")
    values = OTHER | {"env_file": str(file)}
    assert values.keys() | {"url"} == RECREATING
    for key, value in values.items():
        other = msgspec.structs.replace(plain, **{key: value})
        assert specification(other) != specification(plain), key
        assert without_recreating(plain, other) == plain
    for key in set(Container.__struct_fields__) - RECREATING - {"id"}:
        value = "newer" if key == "pull" else 7
        other = msgspec.structs.replace(plain, **{key: value})
        assert specification(other) == specification(plain), key


def test_the_containers_of_the_model() -> None:
    assert item_struct_of(field_types(Config)["containers"]) is Container
