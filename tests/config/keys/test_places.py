"""In which lines of a configuration file keys stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.config.keys.places import places
from infernet_edge.config.rendering import to_json, to_toml
from infernet_edge.config.sources import read_file

TOML = '''\
# a comment with [brackets] and a = b
manage_containers = false
[server]   # a comment
host = "a#b = [c]"
"port" = 1
allowed_hosts = [
    "a",  # ]
    "b = c",
]
rate_limit.num_requests = 5

[server.tokens]
"ann.x" = "..."
[server.tls]
cert = 'c:\\\\x'
[[containers]]
id = "one"
command = """
[no.header]
no = "key"
"""
env = { A = "1", B = [1, 2] }
[containers.accepted_payments]
x = 1
[[containers]]
id = "two"
description = \'\'\'
a = 1 \'\' "quoted"\'\'\'
image = "y"
[jobs]
max_pending=3
'''
EXPECTED = {
    "manage_containers": 2,
    "server": 3,
    "server.host": 4,
    "server.port": 5,
    "server.allowed_hosts": 6,
    "server.rate_limit": 10,
    "server.rate_limit.num_requests": 10,
    "server.tokens": 12,
    "server.tokens.ann.x": 13,
    "server.tls": 14,
    "server.tls.cert": 15,
    "containers[0]": 16,
    "containers[0].id": 17,
    "containers[0].command": 18,
    "containers[0].env": 22,
    "containers[0].accepted_payments": 23,
    "containers[0].accepted_payments.x": 24,
    "containers[1]": 25,
    "containers[1].id": 26,
    "containers[1].description": 27,
    "containers[1].image": 29,
    "jobs": 30,
    "jobs.max_pending": 31,
}


def test_toml() -> None:
    assert places(TOML, toml=True) == EXPECTED


def test_json() -> None:
    document = {
        "log": {"path": 'a "b": {'},
        "containers": [{"id": "x", "env": {"A": 1}, "volumes": ["a", "b"]}, {"id": "y"}],
        "jobs": {"max_pending": 3},
    }
    text = json.dumps(document, indent=1)
    found = places(text, toml=False)
    lines = text.splitlines()
    for path, word in {
        "log.path": '"path"',
        "containers": '"containers"',
        "containers[0].id": '"id": "x"',
        "containers[0].env.A": '"A": 1',
        "containers[0].volumes": '"volumes"',
        "containers[1].id": '"id": "y"',
        "jobs.max_pending": '"max_pending"',
    }.items():
        assert word in lines[found[path] - 1], path
    assert set(places(json.dumps(document), toml=False).values()) == {1}


def flat(value: Any, path: str = "") -> set[str]:
    """The paths of a decoded document, without items that are no tables."""
    found = {path} if path else set()
    if isinstance(value, dict):
        for key, each in value.items():
            found |= flat(each, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            if isinstance(each, dict):
                found |= flat(each, f"{path}[{number}]")
    return found


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_a_written_configuration(tmp_path: Path, suffix: str) -> None:
    chosen = {
        "server": {"port": 4001, "rate_limit": {"num_requests": 3}},
        "containers": [
            {"id": "a", "image": "x", "env": {"K": "v"}},
            {"id": "b", "url": "http://x"},
        ],
        "jobs": {"max_pending": 7},
    }
    file = tmp_path / f"config.{suffix}"
    file.write_text(to_toml(chosen) if suffix == "toml" else to_json(chosen))
    text = file.read_text()
    found = places(text, toml=suffix == "toml")
    paths = flat(read_file(file))
    # Inline tables are one value, whose line is that of their key.
    known = {path for path in paths if not path.startswith("containers[0].env.")}
    assert known - set(found) <= {"containers"}
    lines = text.splitlines()
    for path in known & set(found):
        name = path.rpartition(".")[2].partition("[")[0]
        assert name in lines[found[path] - 1] or "{" in lines[found[path] - 1], path


@pytest.mark.parametrize("text", ["", "[", "]", "}", ",", ":", "a", "=", "[[a", '"', "{" * 1000])
@pytest.mark.parametrize("toml", [True, False])
def test_what_is_not_valid_is_left_out(text: str, toml: bool) -> None:
    assert len(places(text, toml=toml)) < 50
