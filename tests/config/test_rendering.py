"""The file that `init` writes: complete, and consistent with the model."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infernet_edge.config import load
from infernet_edge.config.model import Config, Model
from infernet_edge.config.rendering import keys, to_json, to_toml, toml_value

CHOSEN: dict[str, Any] = {
    "server": {"port": 4001, "host": "127.0.0.1"},
    "containers": [
        {"id": "first", "image": "localhost/first:1", "env": {"A B": 'x\n"y" \\ é\x7f', "n": 1}},
        {"id": "second", "url": "http://10.0.0.5:3000", "models": ["a/b", {"name": "c"}]},
    ],
}


def paths(target: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, str]]:
    """Each key of the tree with the header of its table."""
    for key in keys(target):
        below = f"{path}.{key.name}" if path else key.name
        if not key.is_served:
            continue
        if key.table:
            yield from paths(key.table, below)
        elif key.item_table:
            yield from paths(key.item_table, below)
        else:
            yield path, key.name


def keys_of(text: str) -> set[tuple[str, str]]:
    """Each key of a file, commented or not, with the header of its table."""
    found, table = set(), ""
    for line in text.splitlines():
        if head := re.fullmatch(r"#?\[+([a-z_.]+)\]+", line):
            table = head[1]
        elif key := re.match(r"#?([a-z_]+) =", line):
            found.add((table, key[1]))
    return found


@pytest.mark.parametrize("chosen", [{}, CHOSEN], ids=["nothing", "something"])
def test_every_key_of_the_tree_is_in_its_table(chosen: dict[str, Any]) -> None:
    text = to_toml(chosen)
    assert keys_of(text) == set(paths(Config))
    joined = text.replace("\n#", "")
    assert all(f"{key.name} = " in joined for key in keys(Model))
    assert all(len(line) <= 80 for line in text.splitlines() if not line.startswith("env"))


def test_it_offers_nothing_that_is_not_served() -> None:
    assert not re.search("redis|forward_stats|stats|Fluent", to_toml({}))
    chosen = {"redis": {"host": "x"}, "forward_stats": True, "stats": {"host": "y"}}
    live = tomllib.loads(to_toml(chosen))
    assert {name: live[name] for name in chosen} == chosen  # of a file that is written again


def test_every_key_is_described() -> None:
    lines = to_toml({}).splitlines()
    for number, line in enumerate(lines):
        if re.match(r"#?[a-z_]+ =", line):
            assert lines[number - 1].startswith("# "), line


def test_what_was_chosen_is_live_and_nothing_else() -> None:
    live = tomllib.loads(to_toml(CHOSEN))
    assert live["server"] == {**CHOSEN["server"], "rate_limit": {}}
    assert live["containers"] == CHOSEN["containers"]
    others = [value for name, value in live.items() if name not in CHOSEN]
    assert not any(re.findall(r"[\w\"']+: (?!\{)", str(value)) for value in others)


@pytest.mark.parametrize(("name", "write"), [("c.toml", to_toml), ("c.json", to_json)])
def test_it_loads_without_errors(tmp_path: Path, name: str, write: Any) -> None:
    file = tmp_path / name
    file.write_text(write(CHOSEN))
    config, warnings, _ = load(file, {})
    assert not warnings
    assert (config.server.host, config.server.port) == ("127.0.0.1", 4001)
    assert config.containers[0].env == CHOSEN["containers"][0]["env"]
    assert config.containers[1].models == ["a/b", Model(name="c")]


def test_nothing_chosen_is_the_default_configuration(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(to_toml({}))
    config, warnings, _ = load(file, {"STATE_DIRECTORY": "/state"})
    (tmp_path / "empty.json").write_text("{}")
    assert config == load(tmp_path / "empty.json", {"STATE_DIRECTORY": "/state"}).config
    assert not warnings


def test_the_comments_show_the_defaults(tmp_path: Path) -> None:
    """With every "#" taken away from a line that has a value, nothing changes."""
    text = to_toml({"containers": [{"id": "a", "image": "b"}]})
    text = re.sub(r"(?m)^#(?=[a-z_]+ = [^{])", "", text)
    # An empty certificate is the one thing that cannot be a default.
    text = text.replace('cert = ""\n', "").replace('\nkey = ""\n', "\n")
    file = tmp_path / "config.toml"
    file.write_text(text)
    small = tmp_path / "small.json"
    small.write_text(json.dumps({"containers": [{"id": "a", "image": "b"}]}))
    assert load(file, {}).config == load(small, {}).config


def test_a_value_that_differs_from_its_default_shows_the_default() -> None:
    text = to_toml({"server": {"port": 4001}})
    assert "# Port of the REST API (default: 4000)\nport = 4001\n" in text
    assert "# Port of the REST API\n#port = 4000\n" in to_toml({})


@pytest.mark.parametrize(
    "value",
    [
        True,
        0,
        -1,
        2**62,
        0.5,
        1e300,
        "",
        'a"b\\c\n\t\x00\x7f',
        "ü😀",
        [],
        [1, "x"],
        {},
        {"a.b": {}},
    ],
)
def test_values_read_back_as_they_were(value: Any) -> None:
    assert tomllib.loads(f"value = {toml_value(value)}") == {"value": value}
