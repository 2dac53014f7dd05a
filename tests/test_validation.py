"""msgspec's messages in plain words. The messages are real ones, so that a new msgspec shows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta, Struct

from infernet_edge.validation import Mismatch, explain, words


class Below(Struct):
    n: int = 0


class Everything(Struct, kw_only=True):
    whole: int = 0
    number: float = 0
    text: str = ""
    flag: bool = False
    items: list[int] = []
    below: Below | None = None
    named: dict[str, int] = {}
    either: int | str = 0
    small: Annotated[int, Meta(ge=1, le=9)] = 1
    name: Annotated[str, Meta(pattern="^[a-z]+$", min_length=1)] = "a"
    choice: Literal["a", "b"] = "a"
    needed: int


def mistake(**wrong: Any) -> Mismatch:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert({"needed": 1, **wrong}, Everything)
    return explain(str(refused.value))


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"whole": "x"}, ("whole", "a whole number", "text")),
        ({"whole": 1.5}, ("whole", "a whole number", "a number")),
        ({"whole": None}, ("whole", "a whole number", "null")),
        ({"number": "x"}, ("number", "a number", "text")),
        ({"text": 1}, ("text", "text", "a whole number")),
        ({"text": True}, ("text", "text", "true or false")),
        ({"flag": 1}, ("flag", "true or false", "a whole number")),
        ({"items": {}}, ("items", "a list", "an object")),
        ({"items": [1, "x"]}, ("items[1]", "a whole number", "text")),
        ({"below": []}, ("below", "an object or null", "a list")),
        ({"below": {"n": "x"}}, ("below.n", "a whole number", "text")),
        ({"either": []}, ("either", "a whole number or text", "a list")),
    ],
)
def test_types(wrong: dict[str, Any], expected: tuple[str, str, str]) -> None:
    assert mistake(**wrong) == expected


def test_a_missing_field() -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert({}, Everything)
    assert explain(str(refused.value)) == ("needed", "a value", "nothing")
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert([{}], list[Everything])
    assert explain(str(refused.value)) == ("[0].needed", "a value", "nothing")


def test_ranges_patterns_and_choices_are_described() -> None:
    assert mistake(small=10)[:2] == ("small", "a whole number <= 9")
    assert "letters" in mistake(name="A").expected
    assert "^[a-z]" not in mistake(name="A").expected
    assert mistake(choice="c").path == "choice"


def test_the_whole_value() -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert([], Everything)
    assert explain(str(refused.value)) == ("", "an object", "a list")


def test_names_of_types() -> None:
    assert words("int") == "a whole number"
    assert words("str | null") == "text or null"
    assert words("Secret") == "Secret"
