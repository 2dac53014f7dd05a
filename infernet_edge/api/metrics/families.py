"""The metrics of the node: their names, what they say, and where their values are.

The values of labels are names that are configured, or words of this program; never what a client
sends. So the number of series depends on the configuration alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from infernet_edge import INFERNET_VERSION, __version__
from infernet_edge.containers.supervision.usage import ContainerUsage
from infernet_edge.jobs.housekeeping import Space
from infernet_edge.jobs.runs import OUTCOMES, ServiceQueue
from infernet_edge.memory import MemoryBudget
from infernet_edge.metrics.measurements import ChainMeasurements
from infernet_edge.metrics.text import Family, Kind, Sample, histogram_samples, labels_text
from infernet_edge.storage.threads import Commits

PREFIX: Final = "infernet_edge_"
OTHER: Final = "*"
"""In the place of a name that is not configured, such as the path of no endpoint."""

_EXACT = (
    "The text has all its digits; Prometheus keeps about 16 of them, as of every number"
    " (64-bit floating point)"
)


class Measured(NamedTuple):
    """All that the metrics are made of.

    `requests` are by route and status, `ended` jobs by container and outcome. `usages` and
    `restarts` are of managed containers. `space` is None when the database cannot be read,
    `temperature` (degrees Celsius) when the machine reports none, `chain` when it is disabled.
    """

    requests: Mapping[tuple[str, int], int]
    ended: Mapping[tuple[str, str], int]
    queues: Mapping[str, ServiceQueue]
    usages: Mapping[str, ContainerUsage]
    restarts: Mapping[str, int]
    commits: Commits
    memory: MemoryBudget
    space: Space | None
    temperature: float | None
    chain: ChainMeasurements | None


def families(measured: Measured) -> Iterator[Family]:
    """All metrics, in the order in which they are shown."""
    yield from _of_requests(measured)
    yield from _of_jobs(measured)
    yield from _of_containers(measured)
    yield from _of_storage(measured)
    if measured.chain is not None:
        yield from _of_chain(measured.chain)
    yield _family(
        *("temperature_celsius", "gauge", "The highest temperature that the machine reports"),
        [({}, measured.temperature)],
        unit="celsius",
    )
    versions = {"version": __version__, "infernet_version": INFERNET_VERSION}
    yield _family("build", "info", "The version, and that of the Infernet node", [(versions, 1)])


def _family(
    name: str,
    kind: Kind,
    text: str,
    values: Iterable[tuple[dict[str, str], float | None]],
    unit: str = "",
) -> Family:
    """A family with a sample for each value that is known."""
    suffix = {"counter": "_total", "info": "_info"}.get(kind, "")
    samples = [
        Sample(suffix, labels_text(labels), value) for labels, value in values if value is not None
    ]
    return Family(PREFIX + name, kind, text, samples, unit)


def _of_requests(measured: Measured) -> Iterator[Family]:
    yield _family(
        "requests",
        "counter",
        "Answered requests by the path of the endpoint, * for none, and the status",
        [
            ({"route": route, "status": str(status)}, count)
            for (route, status), count in sorted(measured.requests.items())
        ],
    )


def _of_jobs(measured: Measured) -> Iterator[Family]:
    queues = measured.queues
    ended = {(name, outcome): 0 for name in queues for outcome in OUTCOMES}
    for (name, outcome), count in measured.ended.items():
        key = (name if name in queues else OTHER, outcome)
        ended[key] = ended.get(key, 0) + count
    yield _family(
        "jobs",
        "counter",
        "Jobs that ended since the start, by the container in which they ended and the outcome",
        [
            ({"container": name, "outcome": outcome}, count)
            for (name, outcome), count in ended.items()
        ],
    )
    yield Family(
        f"{PREFIX}job_seconds",
        "histogram",
        "Seconds of jobs and deliveries in a container, from its slot to the end of each attempt",
        [
            sample
            for name, queue in queues.items()
            for sample in histogram_samples(queue.service.seconds, {"container": name})
        ],
        "seconds",
    )
    yield _family(
        "queue_jobs",
        "gauge",
        "Jobs and deliveries that wait for a slot of the container",
        _by_container({name: queue.slots.waiting for name, queue in queues.items()}),
    )
    yield _family(
        "slots_used",
        "gauge",
        "Slots of the container (max_concurrency) that are in use",
        _by_container({name: queue.slots.used for name, queue in queues.items()}),
    )


def _by_container(values: Mapping[str, Any]) -> list[tuple[dict[str, str], Any]]:
    return [({"container": name}, value) for name, value in values.items()]


def _of_containers(measured: Measured) -> Iterator[Family]:
    queues, usages = measured.queues, measured.usages
    yield _family(
        "container_up",
        "gauge",
        "1 when the container answers, or sleeps until a job starts it; 0 when it takes no jobs",
        _by_container({name: int(queue.service.is_available) for name, queue in queues.items()}),
    )
    yield _family(
        "container_asleep",
        "gauge",
        "1 when the container does not run because no job needs it, else 0",
        _by_container(
            {name: int(queue.service.state == "asleep") for name, queue in queues.items()}
        ),
    )
    yield _family(
        "container_restarts",
        "counter",
        "How often the container was started again since the node runs",
        _by_container(measured.restarts),
    )
    yield _family(
        "container_memory_bytes",
        "gauge",
        "Memory of the running container, without files that are only cached",
        _by_container({name: usage.memory for name, usage in usages.items()}),
        unit="bytes",
    )
    yield _family(
        "container_cpu_seconds",
        "counter",
        "Seconds of processors that the running container has used",
        _by_container({name: usage.cpu for name, usage in usages.items()}),
        unit="seconds",
    )


def _of_storage(measured: Measured) -> Iterator[Family]:
    space, memory = measured.space, measured.memory
    yield _family(
        "storage_bytes",
        "gauge",
        "Bytes that the database uses; storage.max_bytes is the limit",
        [({}, space and space.used)],
        unit="bytes",
    )
    yield _family(
        "storage_free_bytes",
        "gauge",
        "Bytes that are free on the disk of the database",
        [({}, space and space.free)],
        unit="bytes",
    )
    yield Family(
        f"{PREFIX}commit_jobs",
        "histogram",
        "Writes in one transaction of the database: a request's new jobs, or the end of a job",
        list(histogram_samples(measured.commits.writes, {})),
    )
    yield Family(
        f"{PREFIX}commit_seconds",
        "histogram",
        "Seconds of one transaction of the database, with its sync to the disk",
        list(histogram_samples(measured.commits.seconds, {})),
        "seconds",
    )
    yield _family(
        "held_bytes",
        "gauge",
        "Bytes in memory for clients and containers, by what they are",
        [({"kind": kind}, size) for kind, size in memory.held.items()],
        unit="bytes",
    )
    yield _family(
        "held_limit_bytes",
        "gauge",
        "The limit of held_bytes in total (server.max_held_bytes)",
        [({}, memory.limit)],
        unit="bytes",
    )


def _of_chain(chain: ChainMeasurements) -> Iterator[Family]:
    yield _family(
        "rpc_requests",
        "counter",
        "Requests to the JSON-RPC servers of chain.rpc_url since the start, by what came of them",
        [
            ({"server": server, "outcome": outcome}, count)
            for (server, outcome), count in chain.rpc_requests.items()
        ],
    )
    yield _family("head_block", "gauge", "The number of the newest block", [({}, chain.head_block)])
    yield _family(
        "head_age_seconds",
        "gauge",
        "Seconds since the newest block",
        [({}, chain.head_age)],
        unit="seconds",
    )
    yield _family(
        "deliveries",
        "counter",
        "Deliveries since the start: accepted, and those that ended, by how",
        [({"state": state}, count) for state, count in chain.deliveries.items()],
    )
    yield _family(
        "gas_wei",
        "counter",
        f"What final transactions have cost since the start. {_EXACT}",
        [({}, chain.gas)],
        unit="wei",
    )
    yield _family(
        "balance_wei",
        "gauge",
        f"The coins of the node's account, read once a minute. {_EXACT}",
        [({}, chain.balance)],
        unit="wei",
    )
