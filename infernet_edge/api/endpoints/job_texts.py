"""GET /api/jobs/{id}/input, /result and /steps/{number}: the texts of a job, to be downloaded."""

from __future__ import annotations

import re
from typing import Final

from starlette.types import Receive, Scope, Send

from infernet_edge.api.access.admission import Caller
from infernet_edge.api.json_io import Answer, StoredAnswer, answer_of
from infernet_edge.errors import NotFound, RangeNotSatisfiable
from infernet_edge.jobs.contents import Content
from infernet_edge.jobs.reading.parts_of_job import JobTexts, Kind
from infernet_edge.jobs.retrieval import Part
from infernet_edge.jobs.store import JobStore

_RANGE: Final = re.compile(rb"bytes=([0-9]{0,18})-([0-9]{0,18})")
_STEP: Final = re.compile("[0-9]{1,6}")


class JobTextEndpoint:
    """One text of a job, as stored: JSON of the client or of a container."""

    methods = ("GET", "HEAD")

    def __init__(self, texts: JobTexts, store: JobStore, kind: Kind) -> None:
        self._texts = texts
        self._store = store
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parameters = scope["path_params"]
        identifier: str = parameters["id"]
        number: str = parameters.get("number", "")
        if number and not _STEP.fullmatch(number):
            raise NotFound("Steps are counted from 1", {"step": number[:20]})
        caller: Caller = scope["caller"]
        with self._store.kept([identifier]):
            found = await self._texts.find(
                identifier, caller.owns, self._kind, int(number) if number else 0
            )
            name = f"{identifier}-{self._kind}{number}.json"
            await self._answer(found, name, scope)(scope, receive, send)

    def _answer(self, text: Part, name: str, scope: Scope) -> Answer | StoredAnswer:
        size = text.size if isinstance(text, Content) else len(text)
        part = _range(scope, size)
        sent = text if part is None else _cut(text, part)
        answer = answer_of([sent], self._store.read)
        answer.headers += [
            (b"accept-ranges", b"bytes"),
            (b"content-disposition", f'attachment; filename="{name}"'.encode("latin-1")),
        ]
        if part is not None:
            answer.status = 206
            shown = f"bytes {part.start}-{part.stop - 1}/{size}"
            answer.headers.append((b"content-range", shown.encode()))
        return answer


def _range(scope: Scope, size: int) -> range | None:
    """The bytes that a request wants (RFC 9110, section 14.2); None for all of them.

    Several ranges, and those of a condition, are answered with everything, which is allowed.
    Raises RangeNotSatisfiable.
    """
    fields = [value for name, value in scope["headers"] if name == b"range"]
    conditional = any(name == b"if-range" for name, _ in scope["headers"])
    found = _RANGE.fullmatch(fields[0].strip()) if len(fields) == 1 and not conditional else None
    if found is None or scope["method"] != "GET":
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        begin, end = max(0, size - int(last)), size
    else:
        begin, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < begin:
            return None  # invalid, so that it is ignored
    if begin >= end:
        raise RangeNotSatisfiable(
            f"The text has {size} bytes", {"size": size}, {"content-range": f"bytes */{size}"}
        )
    return range(begin, end)


def _cut(text: Part, part: range) -> Part:
    if isinstance(text, Content):
        return Content(text.job, text.part, len(part), text.start + part.start)
    return text[part.start : part.stop]
