"""Regular expressions: what they find, which are refused, and that none takes long."""

from __future__ import annotations

import random
import re
import time

import pytest

from infernet_edge.json_schema.patterns import BadPattern, Pattern


def free(_: int) -> None:
    """Work that is not counted."""


@pytest.mark.parametrize(
    "source",
    [
        r"^\d{3}-\d{4}$",
        r"a|b*c",
        r"^(foo|bar)?x+?$",
        r"[^a-c]d",
        r"(a|ab)(c|bcd)$",
        r"^$",
        r"",
        r"^.{2,3}$",
        r"(?:ab){2,}",
        r"^[\w.-]+@[a-z]+\.[a-z]{2,}$",
        r"a$b",
        r"x^a",
        r"[a\]]",
        r"\.\*\\",
        r"(^a|b$)+",
        r"(a?b?)*c$",
        r"(|a)+b",
        r"[a-]",
        r"[\d\-x]+$",
        r"^\s*\S+$",
        r"a{2}{",
        r"(?:(?:a*)*)*b",
    ],
)
def test_it_finds_what_python_finds(source: str) -> None:
    # Python's $ is also before a last line end, and its \d has digits of all scripts.
    theirs = re.compile(source.replace("$", r"\Z"), re.ASCII)
    ours, chance = Pattern(source), random.Random(1)
    for _ in range(1500):
        text = "".join(chance.choices("abcdxfor1-2.@*\\ {,}3]\n", k=chance.randrange(8)))
        assert ours.found(text, free) == bool(theirs.search(text)), text


@pytest.mark.parametrize(
    ("source", "text", "found"),
    [
        (r"^\u00e9$", "é", True),
        (r"^\u{1F600}\x41\cJ$", "😀A\n", True),
        (r"^(?<name>a)$", "a", True),
        (r"^a$", "a\n", False),
        (r"^\d$", "٣", False),
        (r"^\w$", "é", False),
        (r"^\s$", "\u00a0", True),
        (r"^.$", "\u2028", False),
        (r"^\/\-$", "/-", True),
        (r"^[\b]$", "\b", True),
        (r"^[^]$", "a", True),
        (r"[]", "a", False),
        (r"a{,3}", "aaa", False),
        (r"a{,3}", "a{,3}", True),
    ],
)
def test_the_syntax_of_ecma_262(source: str, text: str, found: bool) -> None:
    assert Pattern(source).found(text, free) is found


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("(", '"(" without ")"'),
        (")", '")" without "("'),
        ("a**", "a repeat of a repeat"),
        ("*a", "nothing to repeat, at character 1"),
        ("(?=a)", "is not supported"),
        ("(?<!a)", "is not supported"),
        ("(?i)a", "is not supported"),
        (r"(a)\1", r"\1 is not supported"),
        (r"\ba", r"\b is not supported"),
        (r"\p{L}", r"\p is not supported"),
        ("[b-a]", "whose end is before its beginning"),
        ("[a", "ends too early"),
        ("a\\", "ends too early"),
        ("a{3,2}", "whose maximum is below its minimum"),
        ("(a{100}){100}", "it repeats too much"),
        ("a{999999}", "it repeats too much"),
        (r"\u12", "without the hex digits"),
        (r"\u{110000}", "without the hex digits"),
        ("(" * 60 + ")" * 60, "more than 50 groups in groups"),
        ("a" * 1001, "it has 1001 characters"),
    ],
)
def test_patterns_that_are_refused(source: str, why: str) -> None:
    with pytest.raises(BadPattern, match=re.escape(why)):
        Pattern(source)


@pytest.mark.parametrize(
    "source", ["^(a+)+$", "(a*)*b", "(a|a)*b", "^(a?){50}a{50}$", "a.*b.*c.*d"]
)
def test_no_text_takes_long(source: str) -> None:
    pattern = Pattern(source)
    begin = time.thread_time()
    assert not pattern.found("a" * 50_000 + "!", free)
    assert time.thread_time() - begin < 2


def test_an_empty_part_is_not_repeated() -> None:
    begin = time.thread_time()
    assert Pattern("^(((){999999}){999999}){999999}a$").found("a", free)
    assert not Pattern("^(?:){999999}$").found("a", free)
    assert time.thread_time() - begin < 2


def test_work_that_is_not_known_is_counted() -> None:
    spent = 0

    def spend(work: int) -> None:
        nonlocal spent
        spent += work

    chance = random.Random(1)
    Pattern("(a|b)*a(a|b){200}c").found("".join(chance.choices("ab", k=3000)), spend)
    assert spent > 50_000
    before, pattern = spent, Pattern("^a+$")
    assert pattern.found("a" * 3000, spend)
    assert 3000 // 16 <= spent - before < 300
