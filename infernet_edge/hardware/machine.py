"""The hardware and operating system of this machine, for GET /resources."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from infernet_edge.hardware.cpu import Processor, cpu_info, query_py_cpuinfo, read_processor
from infernet_edge.hardware.devices import read_devices
from infernet_edge.hardware.disks import read_disks
from infernet_edge.hardware.gpu import GPUReader
from infernet_edge.hardware.reading import Reading
from infernet_edge.hardware.system import read_os
from infernet_edge.schema import (
    BaseCapability,
    CPUInfo,
    DeviceInfo,
    DiskInfo,
    GPUCapability,
    HardwareCapability,
    OSInfo,
)
from infernet_edge.tasks import cancel

USAGE_KEPT = 10.0
"""Seconds for which free disk space and GPU memory are shown before they are read again."""


class Hardware:
    """CPU and OS are read once, disks, GPUs and devices at most every 10 seconds, all in threads.

    `root` is the folder of /proc, /sys and /etc. A caller waits at most `timeout` seconds for each
    read.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        architecture: str = "",
        py_cpuinfo: Callable[[], Mapping[str, object]] = query_py_cpuinfo,
        timeout: float = 3.0,
    ) -> None:
        kernel = os.uname()
        machine = architecture or kernel.machine
        unknown = Processor(machine, cores=[], name="", generic_name="", board="", vendor="")
        not_reported: Mapping[str, object] = {}
        no_disks: list[DiskInfo] = []
        no_gpus: GPUCapability | None = None
        no_devices: list[DeviceInfo] = []
        self._processor = Reading(
            "cpu", partial(read_processor, root, machine), unknown, timeout=timeout
        )
        self._py_cpuinfo = Reading("py-cpuinfo", py_cpuinfo, not_reported, timeout=timeout)
        self._os = Reading(
            "os",
            partial(read_os, root),
            OSInfo(kernel.sysname, kernel.release),
            timeout=timeout,
        )
        self._disks = Reading(
            "disks", partial(read_disks, root), no_disks, keep=USAGE_KEPT, timeout=timeout
        )
        self._gpus = Reading("gpu", GPUReader(root).read, no_gpus, keep=USAGE_KEPT, timeout=timeout)
        self._devices = Reading(
            "devices", partial(read_devices, root), no_devices, keep=USAGE_KEPT, timeout=timeout
        )
        self._initial_read: asyncio.Future[tuple[OSInfo, CPUInfo]] | None = None

    async def start(self) -> None:
        """Begin to read CPU and OS in the background; returns at once."""
        self._initial_read = asyncio.gather(self._os.get(), self._cpu())

    async def stop(self) -> None:
        """Stop waiting for reads. A thread that hangs ends with the process."""
        if self._initial_read is not None:
            await cancel(self._initial_read)
            self._initial_read = None

    async def capabilities(self) -> list[HardwareCapability]:
        """The machine, and the GPUs if it has any."""
        os_info, cpu, disks, devices, gpus = await asyncio.gather(
            *(self._os.get(), self._cpu(), self._disks.get(), self._devices.get()),
            self._gpus.get(),
        )
        base = BaseCapability(os_info=os_info, cpu_info=cpu, disk_info=disks, device_info=devices)
        return [base, gpus] if gpus else [base]

    async def _cpu(self) -> CPUInfo:
        processor = await self._processor.get()
        fallback = {} if processor.is_known else await self._py_cpuinfo.get()
        return cpu_info(processor, fallback)
