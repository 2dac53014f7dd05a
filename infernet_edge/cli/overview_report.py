"""Jobs, machine and chain of an overview as text, for `status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infernet_edge.cli.chain_report import duration
from infernet_edge.cli.container_report import mebibytes
from infernet_edge.cli.remote.overview import MachineFigures, NodeOverview
from infernet_edge.cli.text import wrapped

_GIB = 2**30


def headline(overview: NodeOverview, *, healthy: bool) -> str:
    """Whether all is well, in the words of the dashboard (verdict in parts/chip.js).

    `healthy` is what GET /health says: older nodes have no overview.
    """
    if not overview.intake.open:
        return f"Not taking jobs: {overview.intake.reason}"
    if count := len(overview.attention) + overview.left_out.attention:
        return f"Working, but {count} thing{' needs' if count == 1 else 's need'} you"
    states = [each.state for each in overview.containers]
    if starting := states.count("starting"):
        ready = len(states) - starting
        many = f"{len(states)} container{'' if len(states) == 1 else 's'}"
        return f"Starting: {ready} of {many} {'is' if ready == 1 else 'are'} ready"
    return "Working normally" if healthy else "Unhealthy"


def job_lines(overview: NodeOverview) -> Iterator[str]:
    """The queue, and the last hour."""
    jobs, hour = overview.jobs, overview.jobs.hour
    queue = f"{jobs.running} running, {jobs.waiting} waiting"
    if not overview.intake.open:
        queue += f"; new ones are refused: {overview.intake.reason}"
    yield from wrapped("  jobs: ", queue, indent=4)
    ended = f"{hour.done} done, {hour.failed} failed"
    if hour.p50_ms is not None and hour.p95_ms is not None:
        ended += f"; half took under {_time(hour.p50_ms)}, 1 in 20 over {_time(hour.p95_ms)}"
    yield from wrapped("  last hour: ", ended, indent=4)


def machine_lines(machine: MachineFigures, held: Mapping[str, int] | None) -> Iterator[str]:
    """Memory and disk. `held`: bytes that the node holds for clients, and their limit."""
    if held is not None:
        text = f"{mebibytes(held['held'])} of {mebibytes(held['limit'])} held"
        if machine.memory_used is not None and machine.memory_size:
            text += f"; the machine uses {_size(machine.memory_used)}"
            text += f" of {_size(machine.memory_size)}"
        yield from wrapped("  memory: ", text, indent=4)
    elif machine.memory_used is not None and machine.memory_size:
        used = f"{_size(machine.memory_used)} of {_size(machine.memory_size)} used"
        yield f"  memory: {used}"
    if machine.disk_free is not None and machine.disk_size:
        text = f"{_size(machine.disk_free)} of {_size(machine.disk_size)} free"
        if machine.disk_days_left is not None:
            left = duration(machine.disk_days_left * 86400)
            text += f"; full in about {left} at the pace of the last day"
        yield from wrapped("  disk: ", text, indent=4)
    if machine.temperature_c is not None:
        slow = ", slowed down by heat" if machine.throttled else ""
        yield f"  temperature: {machine.temperature_c:.0f} degrees Celsius{slow}"


def chain_line(chain: Mapping[str, Any]) -> Iterator[str]:
    """The chain of another node, in short."""
    shown = [
        f"{label} {chain[key]}"
        for label, key in (("block", "head"), ("account", "address"), ("balance in wei", "balance"))
        if chain.get(key) is not None
    ]
    yield from wrapped(f"  chain {chain.get('chain_id')}: ", ", ".join(shown), indent=4)


def _size(size: int) -> str:
    """A size in GiB, or in MiB when it is small."""
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else mebibytes(size)


def _time(milliseconds: float) -> str:
    """A time in seconds, or in milliseconds when it is short."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.1f} s"
