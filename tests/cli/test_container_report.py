from __future__ import annotations

from typing import Any

from infernet_edge.cli.container_report import container_lines


def container(**more: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("image", "url", "port", "restarts", "uptime", "memory"))
    return {"id": "a", "state": "ready", "reason": "", "memory_limit": None, **nothing, **more}


def test_what_is_known_is_shown() -> None:
    managed = container(
        image="docker.io/me/one:1",
        port=3000,
        restarts=2,
        uptime=7300.0,
        memory=45 * 2**20,
        memory_limit=512 * 2**20,
    )
    pulling = container(
        id="b",
        state="starting",
        reason="its image is being pulled: 2 of 5 parts complete",
        image="two:1",
        port=3001,
        restarts=0,
    )
    elsewhere = container(id="c", url="http://10.0.0.1", state="suspect")
    assert list(container_lines([managed, pulling, elsewhere])) == [
        "  containers: 2 of 3 run",
        "  a                  ready, port 3000, up 2 h, 45 MiB of 512 MiB, 2 restarts",
        "    docker.io/me/one:1",
        "  b                  starting, port 3001",
        "    its image is being pulled: 2 of 5 parts complete",
        "    two:1",
        "  c                  suspect",
        "    http://10.0.0.1",
    ]
    assert "    its image" not in "\n".join(container_lines([pulling], [pulling["id"]]))
    assert list(container_lines([])) == ["  containers: none is configured"]


def test_all_lines_fit() -> None:
    long = container(id="i" * 128, reason="r" * 300, image="m" * 200, port=65535, restarts=12345)
    assert max(map(len, container_lines([long]))) <= 80


def test_those_that_are_asleep_are_counted() -> None:
    reason = "it starts when a job needs it"
    asleep = container(id="b", state="asleep", reason=reason, image="two:1")
    lines = list(container_lines([container(image="one:1"), asleep]))
    assert lines[0] == "  containers: 1 of 2 run, 1 asleep"
    assert lines[3:] == ["  b                  asleep", f"    {reason}", "    two:1"]
