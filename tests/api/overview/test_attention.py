"""What needs attention: since when, in which order, and what others than operators see."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import structs

from infernet_edge.api.overview.attention import (
    MAX_ATTENTION,
    MAX_TEXT,
    AttentionList,
    for_others,
)
from infernet_edge.api.overview.conditions import FoundCondition
from infernet_edge.api.overview.forms import Attention, Level


def item(name: str, level: Level = "warning", text: str = "Text.", **fields: str) -> Attention:
    fix, command = fields.get("fix", "Do it."), fields.get("command", "")
    return Attention(
        id=name,
        level=level,
        title=name,
        text=text,
        fix=fix,
        command=command,
        actions=["restart"],
    )


class Source:
    """Conditions that a test sets, and a clock."""

    def __init__(self) -> None:
        self.found: list[FoundCondition] = []
        self.now = 100.0
        self.list = AttentionList(self.collect, lambda: self.now)

    def collect(self) -> Iterator[FoundCondition]:
        yield from self.found

    def ids(self) -> list[str]:
        return [each.id for each in self.list.items()]


def test_since_is_kept_while_the_condition_lasts() -> None:
    source = Source()
    source.found = [FoundCondition(item("a", text="for 1 s"))]
    (first,) = source.list.items()
    source.found = [FoundCondition(item("a", text="for 2 s")), FoundCondition(item("b"))]
    again, _ = source.list.items()
    assert (again.since, again.text) == (first.since, "for 2 s")
    assert first.since > 0
    source.list._began["a"] = (100.0, 1)  # noqa: SLF001 - as if long ago
    source.found = []
    assert source.list.items() == []
    source.found = [FoundCondition(item("a"))]
    (renewed,) = source.list.items()
    assert renewed.since > 1


def test_some_conditions_count_only_when_they_last() -> None:
    source = Source()
    source.found = [FoundCondition(item("silent"), after=300)]
    assert source.ids() == []
    source.now += 299
    assert source.ids() == []
    source.now += 1
    assert source.ids() == ["silent"]
    source.found = []
    assert source.ids() == []
    source.found = [FoundCondition(item("silent"), after=300)]
    assert source.ids() == []


def test_problems_come_first_and_the_number_is_limited() -> None:
    source = Source()
    source.found = [FoundCondition(item(f"w{number}")) for number in range(30)]
    source.found += [FoundCondition(item("p", "problem"))]
    assert source.ids() == ["p", *(f"w{number}" for number in range(MAX_ATTENTION - 1))]


def test_long_texts_are_cut() -> None:
    source = Source()
    source.found = [FoundCondition(item("a", text="x" * 5000, fix="y" * 5000))]
    (found,) = source.list.items()
    assert (len(found.text), len(found.fix)) == (MAX_TEXT, MAX_TEXT)


def test_others_see_no_paths_and_no_output() -> None:
    text = "The file /var/lib/x was lost; its last output: secret"
    (found,) = for_others([item("a", text=text, fix="See /etc/x", command="rm /var/lib/x")])
    assert (found.text, found.fix) == ("The file (path) was lost.", "See (path)")
    assert (found.command, found.actions) == ("", [])


def test_others_do_not_see_what_is_private() -> None:
    items = [item("hosts.refused"), item("token:ann"), item("a", command="infernet-edge doctor")]
    (found,) = for_others(items)
    assert (found.id, found.command) == ("a", "infernet-edge doctor")


def test_a_part_may_know_since_when() -> None:
    source = Source()
    source.found = [FoundCondition(structs.replace(item("a"), since=4711))]
    assert [each.since for each in source.list.items()] == [4711]
