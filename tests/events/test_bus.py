"""The bus: numbers, rings, ids, what is in an event."""

from __future__ import annotations

import json
import sys
import timeit
from typing import Any

import pytest

from infernet_edge.events.bus import EVENT_TYPES, KEPT_SECONDS, MAX_KEPT, Events
from tests.support.event_stream import Parser


@pytest.fixture
def events() -> Events:
    """A bus whose events are all kept."""
    made = Events()
    for kind in EVENT_TYPES:
        made.add_reader(kind.name)
    return made


def text(events: Events, data: dict[str, Any]) -> dict[str, Any]:
    events.publish("container.failed", data)
    (read,) = Parser().feed(events.text_of(events.topics["container"].ring[-1]))
    found: dict[str, Any] = json.loads(read.data)
    return found


def test_numbers_grow_and_each_type_has_a_ring(events: Events) -> None:
    events.publish("container.ready", {"id": "a"})
    for number in range(2 * MAX_KEPT):
        events.publish("job.accepted", {"id": str(number)})
    jobs, containers = events.topics["job"], events.topics["container"]
    assert [event.name for event in containers.ring] == ["container.ready"]
    assert len(jobs.ring) == MAX_KEPT
    numbers = [event.number for event in (*containers.ring, *jobs.ring)]
    assert numbers == sorted(set(numbers))
    assert jobs.lost == jobs.ring[0].number - 1
    assert containers.lost == 0


def test_an_unknown_noun_is_a_defect() -> None:
    with pytest.raises(KeyError):
        Events().publish("weather.changed", {})


def test_ids_are_those_of_one_run() -> None:
    events, other = Events(), Events()
    events.publish("job.accepted", {"id": "a"})
    number = events.last
    assert events.number_of(events.identifier(number)) == number
    for wrong in (
        "",
        "-",
        "x",
        str(number),
        f"{number}-",
        f"-{events.boot}",
        f"{number}-{other.boot}",
        f"٣-{events.boot}",
        f"{'9' * 5000}-{events.boot}",
        other.identifier(number),
    ):
        assert events.number_of(wrong) is None, wrong


def test_texts_are_bounded_and_valid(events: Events) -> None:
    assert len(text(events, {"reason": "x" * 10_000})["reason"]) == 500
    found = text(events, {"id": "a\ud800", "more": {"of": ["\udc80"]}, "line": "a\nb\r"})
    assert found["id"] == "a?"
    assert found["more"] == {"of": ["?"]}
    assert found["line"] == "a\nb\r"
    assert found["time"].endswith("Z")


def test_it_is_encoded_once(events: Events) -> None:
    events.publish("job.accepted", {"id": "a"})
    (event,) = events.topics["job"].ring
    assert event.text is None
    assert events.text_of(event) is events.text_of(event)


def test_others_read_reasons_without_paths_and_output(events: Events) -> None:
    events.publish("container.failed", {"id": "a", "reason": "no /dev/x; its last output: secret"})
    (event,) = events.topics["container"].ring
    assert b"no /dev/x; its last output: secret" in events.text_of(event)
    others = events.text_of(event, in_full=False)
    assert b'"reason":"no (path)."' in others
    assert events.text_of(event, in_full=False) is others


def test_interest_in_a_type_begins_and_ends() -> None:
    events, seen = Events(), list[bool]()
    events.on_interest["machine"] = seen.append
    for _ in range(2):
        events.add_reader("machine")
    assert events.has_readers("machine")
    for _ in range(2):
        events.remove_reader("machine")
    assert not events.has_readers("machine")
    assert seen == [True, False]


def test_what_nobody_reads_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    events, now = Events(), [1000.0]
    monkeypatch.setattr("infernet_edge.events.bus.time.monotonic", lambda: now[0])
    topic = events.topics["job"]
    events.publish("job.accepted", {"id": "before"})
    assert not topic.ring
    assert topic.lost == events.last
    events.add_reader("job")
    events.publish("job.accepted", {"id": "read"})
    events.remove_reader("job")
    read = events.last
    now[0] += KEPT_SECONDS - 1
    events.publish("job.accepted", {"id": "missed"})
    assert [event.data for event in topic.ring] == [{"id": "read"}, {"id": "missed"}]
    assert topic.lost < read
    now[0] += 1
    events.publish("job.accepted", {"id": "later"})
    assert not topic.ring
    assert topic.lost == events.last > read


def test_to_publish_is_cheap_and_keeps_little(events: Events) -> None:
    """As a ratio: on the machine of the decision it is 0.7 µs, a call of a function 0.05 µs."""
    data = {"id": "a"}

    def nothing(name: str, data: dict[str, Any], *, client: str | None = None) -> None:
        pass

    publish = min(
        timeit.repeat(lambda: events.publish("job.started", data, client="a"), number=5000)
    )
    call = min(timeit.repeat(lambda: nothing("job.started", data, client="a"), number=5000))
    assert publish < 40 * call
    assert sys.getsizeof(events.topics["job"].ring[0]) < 200
