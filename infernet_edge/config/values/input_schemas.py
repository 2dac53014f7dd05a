"""Check `containers[].input_schema`."""

from __future__ import annotations

from collections.abc import Iterator

from infernet_edge.config.errors import Problem
from infernet_edge.config.model import Container


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
