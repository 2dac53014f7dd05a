"""Small jobs at 64, 4 and 1 clients; latency of single ones; batches."""

from __future__ import annotations

import time

import uvloop

from tests.benchmarks.bench import Bench, Pair, drained, loaded, subject
from tests.benchmarks.load import DATA, job, latencies, node_latencies, percentile
from tests.benchmarks.results import Line, Row, Samples
from tests.benchmarks.usage import counters

_JOBS = {64: 2000, 4: 1000, 1: 300}
"""Clients, and the jobs of a round."""

_BATCH = 100

_RATE = {64: 0.95, 4: 0.62, 1: None}
_CPU = {64: 1.10, 4: None, 1: None}
_WRITTEN = {64: 1700.0, 4: None, 1: 14_000.0}


def _clients(count: int) -> str:
    return f"{count} client{'s' if count > 1 else ''}"


LINES = (
    *(
        Line(f"jobs.{clients}.rate", f"jobs/s, {_clients(clients)}", "1/s", more=True, goal=goal)
        for clients, goal in _RATE.items()
    ),
    *(
        Line(f"jobs.{clients}.cpu", f"CPU per job, {_clients(clients)}", "µs", goal=goal)
        for clients, goal in _CPU.items()
    ),
    *(
        Line(
            f"jobs.{clients}.written",
            f"written per job, {_clients(clients)}",
            "bytes",
            floor="",
            goal=goal,
            goal_of_figure=True,
        )
        for clients, goal in _WRITTEN.items()
    ),
)

LATENCY_LINES = (
    Line("latency.p50", "submit to result, p50", "ms"),
    Line("latency.p99", "submit to result, p99", "ms", resolution=0.5),
    Line(
        "latency.over_p50",
        "submit to result, p50, over a direct call",
        "ms",
        floor="",
        goal=1.5,
        goal_of_figure=True,
        resolution=0.1,
    ),
    Line(
        "latency.over_p99",
        "submit to result, p99, over a direct call",
        "ms",
        floor="",
        goal=10.0,
        goal_of_figure=True,
        resolution=0.5,
    ),
    Line("latency.wait_p50", "submit and wait in one request, p50", "ms"),
)

BATCH_LINES = (
    Line(
        "batches.rate",
        "jobs/s in batches of 100, 4 clients, until all are done",
        "1/s",
        floor="bare handler, 64 clients",
        more=True,
    ),
    Line(
        "batches.accepted",
        "jobs/s accepted in batches of 100, 4 clients",
        "1/s",
        floor="",
        more=True,
        goal=7000.0,
        goal_of_figure=True,
    ),
    Line("batches.cpu", "CPU per job in batches", "µs", floor="bare handler, 64 clients"),
)


def measure_jobs(bench: Bench) -> list[Row]:
    """Jobs/s, CPU and bytes written, with the node's defaults."""
    samples = Samples()
    with bench.pair("jobs") as pair:
        _warm_up(bench, pair)
        for number in bench.rounds():
            for clients, usual in _JOBS.items():
                jobs = bench.extent.count(usual, 20)
                for server in pair.turns(number):
                    found, who = loaded(server, jobs, clients), subject(server)
                    samples.add(f"jobs.{clients}.rate", found.load.rate, who)
                    samples.add(f"jobs.{clients}.cpu", found.cpu_microseconds, who)
                    if who == "node":
                        samples.add(f"jobs.{clients}.written", found.used.disk / jobs)
    return samples.rows(LINES)


def measure_latency(bench: Bench) -> list[Row]:
    """One job at a time: the node polled unpaused, the bare handler, the container itself."""
    samples = Samples()
    jobs = bench.extent.count(400, 10)
    call = {"data": DATA, "source": 1, "destination": 1, "requires_proof": False}
    with bench.pair("latency") as pair:
        _warm_up(bench, pair)
        for _ in bench.rounds():
            direct = uvloop.run(latencies(pair.echo.url, "/service_output", call, count=jobs))
            node = uvloop.run(node_latencies(pair.node.url, jobs))
            bare = uvloop.run(latencies(pair.bare.url, "/api/jobs", job("echo"), count=jobs))
            waiting = uvloop.run(
                latencies(pair.node.url, "/api/jobs?wait=20", job("echo"), count=jobs)
            )
            for who, taken in (("node", node), ("floor", bare)):
                for percent in (50, 99):
                    value = percentile(taken, percent) * 1e3
                    samples.add(f"latency.p{percent}", value, who)
                    if who == "node":
                        over = value - percentile(direct, percent) * 1e3
                        samples.add(f"latency.over_p{percent}", over)
            samples.add("latency.wait_p50", percentile(waiting, 50) * 1e3)
            samples.add("latency.wait_p50", percentile(bare, 50) * 1e3, "floor")
    return samples.rows(LATENCY_LINES)


def measure_batches(bench: Bench) -> list[Row]:
    """Batches of 100 on 4 connections. The floor takes single jobs on 64."""
    samples = Samples()
    batches = bench.extent.count(40, 2)
    jobs = batches * _BATCH
    with bench.pair("batches") as pair:
        _warm_up(bench, pair)
        for _ in bench.rounds():
            before, begin = counters(pair.node.pid), time.perf_counter()
            body = [job("echo")] * _BATCH
            path = "/api/jobs/batch"
            uvloop.run(latencies(pair.node.url, path, body, count=batches, connections=4))
            accepted = time.perf_counter() - begin
            uvloop.run(drained(pair.node.url))
            seconds = time.perf_counter() - begin
            used = counters(pair.node.pid) - before
            bare = loaded(pair.bare, jobs, 64)
            samples.add("batches.rate", jobs / seconds)
            samples.add("batches.accepted", jobs / accepted)
            samples.add("batches.cpu", used.cpu / jobs * 1e6)
            samples.add("batches.rate", bare.load.rate, "floor")
            samples.add("batches.cpu", bare.cpu_microseconds, "floor")
    return samples.rows(BATCH_LINES)


def _warm_up(bench: Bench, pair: Pair) -> None:
    """Connections, caches and the first growth of the files are not counted."""
    for server in (pair.node, pair.bare):
        loaded(server, bench.extent.count(1000, 20), 64)
