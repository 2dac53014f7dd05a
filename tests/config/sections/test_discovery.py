"""The settings of discovery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infernet_edge.config.errors import ConfigurationError
from infernet_edge.config.loading import build


def built(discovery: dict[str, Any], folder: Path) -> Any:
    document = {"discovery": discovery, "storage": {"path": str(folder)}}
    config, _ = build(document, "the test's configuration", {})
    return config.discovery


def test_defaults_and_values(tmp_path: Path) -> None:
    assert built({}, tmp_path).enabled is None
    assert built({"enabled": False}, tmp_path).enabled is False
    nodes = ["http://10.0.0.7:4000", "https://node.example", "http://[fd00::1]:4000/"]
    found = built({"enabled": True, "name": "Küche 1", "nodes": nodes}, tmp_path)
    assert found.name == "Küche 1"
    assert found.nodes == nodes


@pytest.mark.parametrize("name", ["x" * 64, "a\nb", "ü" * 32, "a\u202eb"])
def test_names_that_are_no_label_are_errors(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"discovery\.name"):
        built({"name": name}, tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "10.0.0.7:4000",
        "ftp://10.0.0.7",
        "http://",
        "http://10.0.0.7:0",
        "http://10.0.0.7:99999",
        "http://10.0.0.7/x",
        "http://user:secret-word@10.0.0.7",
        "http://10.0.0.7?x=1",
        "http://a b",
        "",
    ],
)
def test_urls_of_no_node_are_errors(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"discovery\.nodes\[0\]") as raised:
        built({"nodes": [url]}, tmp_path)
    assert "secret-word" not in str(raised.value)


def test_too_many_nodes_and_one_twice_are_errors(tmp_path: Path) -> None:
    many = [f"http://10.0.1.{number}" for number in range(65)]
    with pytest.raises(ConfigurationError, match="at most 64 nodes"):
        built({"nodes": many}, tmp_path)
    with pytest.raises(ConfigurationError, match="each node once"):
        built({"nodes": [many[0], f"{many[0]}/"]}, tmp_path)
