"""Jobs as text, for `jobs`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from infernet_edge.cli.text import visible, wrapped

_MAX_RESULT = 2000  # characters of a result that are printed
_YEAR_10000 = 253_402_300_800_000  # milliseconds since 1970


def job_lines(job: dict[str, Any]) -> Iterator[str]:
    """Two lines for a job, and its error if it failed."""
    yield from wrapped(f"{job['id']}  ", f"{moment(job['created_at'])}  {job['status']}", indent=4)
    took = [_seconds(job)] if job["finished_at"] is not None else []
    about = ", ".join([" > ".join(job["containers"]), *took, f"for {job['client']}"])
    yield from wrapped("    ", about)
    if job["error"]:
        yield from wrapped("    error: ", job["error"], indent=6)


def _seconds(job: dict[str, Any]) -> str:
    return f"{(job['finished_at'] - job['created_at']) / 1000:.3f} s"


def detail_lines(
    job: dict[str, Any], waits_for: list[str], progress: dict[str, Any] | None = None
) -> Iterator[str]:
    """Everything about one job. What another node does not say about it is left out."""
    yield visible(f"job {job['id']}")
    yield from _row("status", job["status"] + (", cancelled" if job["cancelled"] else ""))
    if progress is not None and progress["container"] is not None:
        yield from _row("is in", progress["container"])
    if progress is not None and progress["position"] is not None:
        yield from _row("position", f"{progress['position']} in its queue")
    yield from _row("kind", job["kind"])
    yield from _row("client", job["client"])
    yield from _row("containers", " > ".join(job["containers"]) or "not named")
    if job["created_at"] is not None:
        yield from _row("created", moment(job["created_at"]))
    if job["started_at"] is not None:
        yield from _row("started", moment(job["started_at"]))
    if job["finished_at"] is not None:
        yield from _row("finished", f"{moment(job['finished_at'])}, after {_seconds(job)}")
    if job["kind"] != "external":
        yield from _row("attempts", str(job["attempts"]))
    if job.get("requires_proof"):
        yield from _row("proof", "required")
    for each in waits_for:
        yield from _row("waits for", each)
    for name, key in (("input", "input_size"), ("outputs", "outputs_size")):
        if job.get(key) is not None:
            yield from _row(name, f"{job[key]} bytes")
    if job["error"]:
        yield from _row("error", job["error"])
    elif job["result_size"] is not None:
        yield from _row("result", f"{job['result_size']} bytes")
        if job["result"] is not None and len(job["result"]) <= _MAX_RESULT:
            yield from wrapped("    ", job["result"])
        elif job["result"] is not None:
            yield from wrapped("    ", "it is shown with --json")
        else:
            yield from wrapped("    ", f"read it with GET /api/jobs?id={job['id']}")


def _row(label: str, text: str) -> list[str]:
    return wrapped(f"  {label:<12}", text)


def moment(milliseconds: int) -> str:
    """A time in milliseconds since 1970, in ISO 8601; the number when it is no such time."""
    if not 0 <= milliseconds < _YEAR_10000:
        return f"{milliseconds} ms"
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
