"""Checks inputs against the schemas of their containers (`containers[].input_schema`).

What does not fit is refused before anything is stored or computed. A short input is checked at
once, a long one in a thread, one at a time; both with limits for the work, so that neither a large
input nor a schema that multiplies it stops the node.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import msgspec

from infernet_edge.config.model import Container
from infernet_edge.containers.answers.checking import is_json
from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.protocols import onchain
from infernet_edge.errors import BadRequest, Unavailable
from infernet_edge.jobs.contents import Buffer

if TYPE_CHECKING:
    from infernet_edge.json_schema.schema import Schema

MAX_VALUES: Final = 200_000
"""Values in an input that has a schema: numbers, texts, lists, objects. Decoded they take 20 MB."""

_AT_ONCE: Final = 16 * 2**10  # bytes of an input that is checked in the event loop
_WORK_AT_ONCE: Final = 10_000  # some milliseconds
_MAX_WORK: Final = 2_000_000  # some seconds, in a thread
_MAX_WAIT: Final = 60.0  # seconds, for the inputs that come before
_TEXT: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


class InputSchemas:
    """The schemas of the configured containers."""

    def __init__(self, containers: Iterable[Container]) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self.apply(containers)

    def apply(self, containers: Iterable[Container]) -> None:
        """Check by the schemas of these containers from now on."""
        chosen = [each for each in containers if each.input_schema is not None]
        self.documents = {each.id: each.input_schema or {} for each in chosen}
        """The schemas as they are configured, by container; replaced when they change."""
        self._schemas: dict[str, Schema] = {}
        self._protocols = {each.id: each.protocol for each in chosen}
        if chosen:
            from infernet_edge.json_schema.schema import Schema  # only where there is one

            self._schemas = {each.id: Schema(each.input_schema) for each in chosen}

    def __contains__(self, container: str) -> bool:
        return container in self._schemas

    async def check(self, container: str, data: Buffer, root: str = "data") -> None:
        """Raise BadRequest with the first part of an input, JSON text, that does not fit.

        `root` is the name of the input in texts. Raises Unavailable when too many are checked.
        """
        schema = self._schemas.get(container)
        if schema is None:
            return
        if len(data) <= _AT_ONCE and _check(schema, container, data, root, _WORK_AT_ONCE):
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "inputs")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_MAX_WAIT):
                checked = await loop.run_in_executor(
                    self._thread, _check, schema, container, data, root, _MAX_WORK
                )
        except TimeoutError:
            raise Unavailable("The node is busy with checking large inputs") from None
        if not checked:
            expected = "data that its schema checks with less work"
            raise _refusal(container, root, "", expected, "too much for it")

    async def check_onchain(self, container: str, data: bytes) -> None:
        """The same for what a contract gives, hex digits in quotes.

        Checked is what the container gets: the JSON in those bytes, the text for servers that
        know nothing of Infernet, and else the hex digits, as a text.
        """
        if container not in self._schemas:
            return
        try:
            text = onchain.input_text(data)
        except ContainerFailure:  # of bytes that are no text; adapters refuse them
            text = b""
        if text.lstrip()[:1] in (b"{", b"[") and is_json(text):
            data = text
        elif text and self._protocols[container] != "infernet":
            data = text if is_json(text) else msgspec.json.encode(text.decode())
        await self.check(container, data, "input")


def _check(schema: Schema, container: str, data: Buffer, root: str, max_work: int) -> bool:
    """Whether an input was checked to its end. Raises BadRequest when it does not fit."""
    from infernet_edge.json_schema.schema import TooMuchWork

    text = bytes(data)
    if len(text) > _AT_ONCE and _values(text) > MAX_VALUES:
        found = f"{_values(text)} numbers, texts, lists and objects"
        raise _refusal(container, root, "", f"at most {MAX_VALUES} values", found)
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:  # such as a number that is too large
        raise _refusal(container, root, "", "data that can be checked", str(error)) from None
    except RecursionError:
        raise _refusal(container, root, "", "data that is nested less deeply", "too much") from None
    try:
        fault = schema.check(value, max_work)
    except TooMuchWork:
        return False
    if fault is not None:
        place = fault.place(root)
        raise _refusal(container, place, fault.pointer, fault.expected, fault.found)
    return True


def _values(text: bytes) -> int:
    """How many values a JSON text has at most; those in texts count only if there are many."""
    count = _separators(text)
    return count if count <= MAX_VALUES else _separators(_TEXT.sub(b"", text))


def _separators(text: bytes) -> int:
    return sum(map(text.count, (b",", b":", b"[", b"{")))


def _refusal(container: str, place: str, pointer: str, expected: str, found: str) -> BadRequest:
    return BadRequest(
        f"{place}: expected {expected}, found {found}",
        {"field": place, "pointer": pointer, "container": container},
    )
