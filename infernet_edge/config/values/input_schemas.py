"""Check `containers[].input_schema`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Final

from infernet_edge.config.errors import Problem
from infernet_edge.config.model import Container
from infernet_edge.config.texts import printable

_LISTED: Final = 5  # unknown keywords of a schema


def unknown_in_schemas(containers: Iterable[Container]) -> Iterator[str]:
    """A warning for each keyword in a schema that checks nothing: it may be misspelled."""
    for container in containers:
        if container.input_schema is not None:
            from infernet_edge.json_schema.schema import unknown_keywords

            found = unknown_keywords(container.input_schema)
            for place in itertools.islice(found, _LISTED):
                where = f"input_schema of container {container.id}"
                yield f"{where}: the keyword at {printable(place)} is unknown and checks nothing"


def check_input_schema(container: Container, path: str) -> Iterator[Problem]:
    """The first error in the schema of a container, whose place is `path`."""
    if container.input_schema is None:
        return
    from infernet_edge.json_schema.schema import BadSchema, Schema  # only where there is one

    try:
        Schema(container.input_schema)
    except BadSchema as error:
        place, found, expected = error.problem
        where = f" at {place}" if place else ""
        yield Problem(f"{path}.input_schema", f"{found}{where}", expected)
