"""YAML as a library reads it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from infernet_edge.export.yaml import to_yaml

TEXTS = [
    *("", " ", "a", "a b", " a", "a ", "a:b", "a: b", "a #b", "#a", "- a", "-", "?", "!a", "&a"),
    *("*a", "|", ">", "%a", "@a", "`a", "{a", "[a", "]", "}", ",", "'a'", '"a"', "\\", "\\n"),
    *("true", "True", "NO", "no", "y", "off", "null", "Null", "~", "1", "1.5", "0x1f", "1e3"),
    *(".inf", ".nan", "2026-11-27", "12:30:45", "1_000", "=", "<<", "a\nb", "a\nb\n", "a\n\nb\n"),
    *("a\n\n", "\na\n", "  a\nb\n", "a\n  b\n", "a \nb\n", "a\tb", "a\tb\nc\n", "\ta", "---"),
    *("é", "日本", "\x00", "\x07", "\x1b[0m", "\x85", "\u2028", "\ufeff", "😀", "😀\x01", "a\rb\n"),
    *("0o7", "...", "k: |\n"),
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_stays_the_same(text: str) -> None:
    document: dict[str, Any] = {"key": text, "list": [text, {"in": text}], "deep": {"er": text}}
    assert yaml.safe_load(to_yaml(document)) == document


@pytest.mark.parametrize("text", TEXTS)
def test_a_key_stays_the_same(text: str) -> None:
    assert yaml.safe_load(to_yaml({text: 1, "b": {text: [1]}})) == {text: 1, "b": {text: [1]}}


@pytest.mark.parametrize(
    "value",
    [
        *(0, 1, -5, 1.5, True, False, None, [], {}, [[]], [{}], [{"a": []}], {"a": {"b": {}}}),
        [{"a": 1, "b": [1, {"c": "x\ny\n"}]}, "z"],
    ],
)
def test_other_values_stay_the_same(value: Any) -> None:
    assert yaml.safe_load(to_yaml({"key": value})) == {"key": value}


def test_it_is_readable() -> None:
    written = to_yaml({"kind": "Pod", "spec": {"items": [{"name": "a", "text": "x: y"}, "b"]}})
    assert written == ('kind: Pod\nspec:\n  items:\n  - name: a\n    text: "x: y"\n  - b\n')
