"""Starts and memory: the package, and both forms of the executable where it is built."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import Any

import pytest

from tests.benchmarks.bench import MEBIBYTE, Bench
from tests.benchmarks.results import Line, Row, Samples
from tests.benchmarks.usage import counters, memory
from tests.support.echo import EchoService
from tests.support.executable import Executable, already_built
from tests.support.process import ServerProcess

_PACKAGE = "start.package"
_FILE = "start.file"
_INSTALLED = "start.installed"
_FLOOR = "start.floor"

LINES = (
    Line(f"{_PACKAGE}.seconds", "start of the package", "s", resolution=0.02),
    Line(f"{_PACKAGE}.cpu", "CPU of that start", "s", resolution=0.02),
    Line(f"{_PACKAGE}.memory", "memory of the package, PSS", "MiB"),
    Line(
        f"{_FILE}.seconds",
        "start of the one file",
        "s",
        goal=0.350,
        goal_of_figure=True,
        resolution=0.02,
    ),
    Line(f"{_FILE}.memory", "memory of the one file, PSS", "MiB"),
    Line(f"{_FILE}.size", "size of the one file", "MB", floor="", goal=17.5, goal_of_figure=True),
    Line(f"{_INSTALLED}.seconds", "start of the installed form", "s", resolution=0.02),
    Line(
        f"{_INSTALLED}.memory",
        "memory of the installed form, PSS, chain off",
        "MiB",
        goal=37.0,
        goal_of_figure=True,
    ),
    Line(
        "start.chain.memory",
        "memory of the installed form, PSS, chain on",
        "MiB",
        floor="",
        goal=60.0,
        goal_of_figure=True,
    ),
)


def measure_start(bench: Bench) -> list[Row]:
    """Seconds from the start of the process to the first answer of /health, each form in turn.

    The starts are warm: each comes after one that is not counted. Memory is that of an idle
    node, of both of its processes in the case of the one file.
    """
    samples = Samples()
    executable = already_built()
    floor: dict[str, list[float]] = {"seconds": [], "cpu": [], "memory": []}

    def add(name: str, figure: str, value: float) -> None:
        if name == _FLOOR:
            floor[figure].append(value)
        else:
            samples.add(f"{name}.{figure}", value)

    with bench.echo() as echo:
        servers = _servers(bench, echo, executable)
        for number in range(-1, bench.extent.rounds):
            for name, server in servers.items():
                seconds = server.start()
                used = counters(server.pid).cpu
                server.stop()
                if number >= 0:
                    add(name, "seconds", seconds)
                    add(name, "cpu", used)
            bench.say(f"  round {number + 1} of {bench.extent.rounds}")
        with ExitStack() as stack:
            for server in servers.values():
                stack.enter_context(server)
            time.sleep(bench.extent.seconds(4.0, 1.0))
            for name, server in servers.items():
                add(name, "memory", memory(server.pid).pss / MEBIBYTE)
    for line in LINES:
        for value in floor.get(line.name.rpartition(".")[2], []) if line.floor else []:
            samples.add(line.name, value, "floor")
    if executable is None:
        bench.say("  the executable is not built: its rows are left out")
    else:
        samples.add(f"{_FILE}.size", executable.file.stat().st_size / 1e6)
        _chain(bench, executable, samples)
    return samples.rows(LINES)


def _servers(
    bench: Bench, echo: EchoService, executable: Executable | None
) -> dict[str, ServerProcess]:
    commands = {_PACKAGE: [sys.executable, "-m", "infernet_edge"]}
    if executable is not None:
        commands[_FILE] = [str(executable.file)]
        commands[_INSTALLED] = [str(executable.program)]
    servers: dict[str, ServerProcess] = {
        name: bench.node(name, {}, command=command) for name, command in commands.items()
    }
    return {_FLOOR: bench.bare(echo.url), **servers}


def _chain(bench: Bench, executable: Executable, samples: Samples) -> None:
    """The same with the chain on, idle, beside an EVM; left out where none is installed."""
    from tests.benchmarks.details.onchain import chain_settings
    from tests.support.evm import Anvil, deploy_v1

    try:
        with ExitStack() as stack:
            anvil = stack.enter_context(Anvil())
            settings: dict[str, Any] = {"chain": chain_settings(deploy_v1(anvil), anvil.url)}
            node = bench.node("start.chain", settings, command=[str(executable.program)])
            stack.enter_context(node)
            anvil.set_block_time(1)
            time.sleep(bench.extent.seconds(8.0, 1.0))
            samples.add("start.chain.memory", memory(node.pid).pss / MEBIBYTE)
    except pytest.skip.Exception as error:
        bench.say(f"  {error}")
