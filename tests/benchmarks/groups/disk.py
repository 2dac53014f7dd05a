"""What reaches a block device: a file system of the node's own, on a loop device."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvloop

from tests.benchmarks.bench import LONGEST, MEBIBYTE, Bench, Unavailable, config_for, drained
from tests.benchmarks.load import latencies
from tests.benchmarks.results import Line, Row, Samples

_SIZE = 512 * MEBIBYTE
_SECTOR = 512  # bytes, whatever the device has: Documentation/block/stat.rst
_WRITTEN_SECTORS = 6  # the field of /sys/block/*/stat
_PAYLOAD = {"containers": ["echo"], "data": {"text": "a" * 1000}}
_JOBS = {1: 300, 64: 2000}
"""Clients, and the jobs of a round."""

LINES = tuple(
    Line(
        f"disk.{clients}",
        f"written to the block device per job of 1 kB, {clients} client{'s' * (clients > 1)}",
        "bytes",
        floor="",
        goal=25_000.0,
        goal_of_figure=True,
    )
    for clients in _JOBS
)


def measure_disk(bench: Bench) -> list[Row]:
    """Sectors written until everything is on the device. Raises Unavailable without root."""
    samples = Samples()
    with ExitStack() as stack:
        folder = bench.folder / "device"
        device = stack.enter_context(_loop_device(bench.folder / "device.image", folder))
        echo = stack.enter_context(bench.echo())
        config = config_for(echo.url) | {"storage": {"path": str(folder / "data")}}
        node = stack.enter_context(bench.node("disk", config))
        for number in range(-1, bench.extent.rounds):
            for clients, usual in _JOBS.items():
                jobs = bench.extent.count(usual, 10)
                before = _written(device)
                uvloop.run(
                    latencies(node.url, "/api/jobs", _PAYLOAD, count=jobs, connections=clients)
                )
                uvloop.run(drained(node.url))
                os.sync()
                if number >= 0:  # the first writes of a file system are its own
                    samples.add(f"disk.{clients}", (_written(device) - before) / jobs)
            bench.say(f"  round {number + 1} of {bench.extent.rounds}")
    return samples.rows(LINES)


def _written(device: Path) -> int:
    """Bytes written to a device since it exists."""
    fields = Path("/sys/block", device.name, "stat").read_text().split()
    return int(fields[_WRITTEN_SECTORS]) * _SECTOR


@contextmanager
def _loop_device(image: Path, folder: Path) -> Iterator[Path]:
    """A device with an empty ext4 that is mounted at `folder`."""
    with image.open("wb") as file:
        file.truncate(_SIZE)
    device = Path(_as_root("losetup", "--find", "--show", str(image)))
    try:
        _as_root("mkfs.ext4", "-q", str(device))
        folder.mkdir()
        _as_root("mount", str(device), str(folder))
        try:
            yield device
        finally:
            _unmount(folder)
    finally:
        _as_root("losetup", "--detach", str(device))


def _unmount(folder: Path) -> None:
    """A program that has just ended may still hold a file for a moment."""
    for last in (False, False, False, True):
        try:
            _as_root("umount", str(folder))
            return
        except Unavailable:
            if last:
                raise
            time.sleep(0.3)


def _as_root(*command: str) -> str:
    """What a command printed; raises Unavailable when it fails or is missing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is missing") from None
    if done.returncode != 0:
        raise Unavailable(f"{command[0]} needs root, and loop devices: {done.stderr.strip()}")
    return done.stdout.strip()
