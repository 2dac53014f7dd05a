"""The executable in both of its forms beside the Python package: size, start, memory when idle.

Nothing is managed and the chain is off. The starts are warm: each comes after one not counted.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from tests.benchmarks.usage import counters, memory, size_of
from tests.support.executable import built
from tests.support.node import NodeProcess

MEBIBYTE = 2**20


class ExecutableExtent(Struct, frozen=True):
    """How much is measured. Times in seconds."""

    starts: int = 7
    settle: float = 5.0


class Form(Struct, frozen=True):
    """One form's figures; `size_mebibytes` is None for the package, which has its Python beside it.

    Of the one-file form the memory is that of both of its processes.
    """

    start_seconds: float
    start_cpu_seconds: float
    pss_mebibytes: float
    size_mebibytes: float | None = None


class ExecutableResults(Struct, frozen=True):
    """All forms of one run."""

    extent: ExecutableExtent
    package: Form
    file: Form
    unpacked: Form


def measure_executable(
    extent: ExecutableExtent, folder: Path, say: Callable[[str], None] = print
) -> ExecutableResults:
    """Build if needed; start each form in turn, again and again, so that a busy time meets all."""
    executable = built()
    folder_size = size_of(executable.program.parent)
    forms = {
        "package": ([sys.executable, "-m", "infernet_edge"], None),
        "file": ([str(executable.file)], executable.file.stat().st_size),
        "unpacked": ([str(executable.program)], folder_size),
    }
    nodes = {
        name: NodeProcess({}, folder / name, command=command, fresh=True)
        for name, (command, _) in forms.items()
    }
    starts: dict[str, list[tuple[float, float]]] = {name: [] for name in forms}
    for number in range(extent.starts + 1):
        for name, node in nodes.items():
            seconds = node.start()
            used = counters(node.pid).cpu
            node.stop()
            if number:
                starts[name].append((seconds, used))
        say(f"start {number} of {extent.starts}")
    found = {}
    for name, node in nodes.items():
        with node:
            time.sleep(extent.settle)
            pss = memory(node.pid).pss / MEBIBYTE
        size = forms[name][1]
        seconds, used = (statistics.median(each) for each in zip(*starts[name], strict=True))
        found[name] = Form(seconds, used, pss, size / MEBIBYTE if size else None)
    return ExecutableResults(extent, **found)


def executable_table(results: ExecutableResults) -> str:
    """The results for people, with ratios to the package."""
    package, others = results.package, (results.file, results.unpacked)
    lines = [f"{'':<32}{'python -m':>10}{'one file':>10}{'unpacked':>10}{'ratios':>16}"]
    for title, name in (
        ("start to first answer, s", "start_seconds"),
        ("CPU until then, s", "start_cpu_seconds"),
        ("idle memory, PSS, MiB", "pss_mebibytes"),
    ):
        base = getattr(package, name)
        values = [getattr(other, name) for other in others]
        ratios = "".join(f"{value / base:>6.2f} x" for value in values)
        figures = "".join(f"{value:>10.2f}" for value in (base, *values))
        lines.append(f"{title:<32}{figures}{ratios}")
    sizes = "".join(f"{other.size_mebibytes:>10.1f}" for other in others)
    lines.append(f"{'size, MiB':<32}{'':>10}{sizes}")
    return "\n".join(lines)
