"""Changes of one period."""

from __future__ import annotations

from typing import Any

from infernet_edge.events.bus import Event, Events
from infernet_edge.events.coalescing import MAX_CHANGED, Changes
from tests.support.event_stream import Parser, ReadEvent

TYPES = ("job", "container", "attention")


def bus() -> Events:
    """A bus whose events are kept."""
    events = Events()
    for kind in TYPES:
        events.add_reader(kind)
    return events


def published(events: Events, *names: str, identifier: Any = "a") -> list[Event]:
    found = []
    for name in names:
        events.publish(name, {"id": identifier})
        kind = next(
            each for each in events.topics.values() if name.split(".")[0] in each.type.nouns
        )
        found.append(kind.ring[-1])
    return found


def frames(events: Events, changes: Changes) -> list[ReadEvent]:
    return list(Parser().feed(changes.take(events.last)))


def test_the_latest_state_of_each() -> None:
    events = bus()
    changes = Changes(events, TYPES)
    changes.add(published(events, "job.accepted", "job.started", "job.finished"))
    changes.add(published(events, "job.accepted", identifier="b"))
    changes.add(published(events, "container.ready", identifier="a"))
    jobs, containers = frames(events, changes)
    assert jobs.name == "jobs"
    assert [(each["event"], each["id"]) for each in jobs.json["changed"]] == [
        ("job.finished", "a"),
        ("job.accepted", "b"),
    ]
    assert jobs.json["more"] == 0
    assert containers.name == "containers"
    assert [jobs.last_id, containers.last_id] == ["", events.identifier(events.last)]
    assert frames(events, changes) == []


def test_the_newest_and_the_number_of_the_others() -> None:
    events = bus()
    changes = Changes(events, TYPES)
    for number in range(5000):
        changes.add(published(events, "job.finished", identifier=number))
    (jobs,) = frames(events, changes)
    assert [each["id"] for each in jobs.json["changed"]] == list(range(5000 - MAX_CHANGED, 5000))
    assert jobs.json["more"] == 5000 - MAX_CHANGED


def test_a_snapshot_replaces_the_one_before() -> None:
    events = bus()
    changes = Changes(events, TYPES)
    changes.add(published(events, "attention.changed", identifier="old"))
    changes.add(published(events, "attention.changed", identifier="new"))
    (attention,) = frames(events, changes)
    assert (attention.name, attention.json["id"]) == ("attention", "new")
    assert "changed" not in attention.json


def test_numbers_of_jobs_are_in_the_frame() -> None:
    events = bus()
    events.summaries["job"] = lambda: {"running": 3, "waiting": 5}
    changes = Changes(events, TYPES)
    changes.add(published(events, "job.accepted"))
    (jobs,) = frames(events, changes)
    assert (jobs.json["running"], jobs.json["waiting"]) == (3, 5)
