from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from infernet_edge.hardware import Hardware
from infernet_edge.schema import BaseCapability, HardwareCapability, encoder
from tests.support.machines import architecture_of, py_cpuinfo_of, root_of

REPOSITORY = Path(__file__).parents[2]
ARM_BOARDS = ["raspberry-pi-5", "raspberry-pi-4", "jetson-orin-nano", "jetson-nano", "orange-pi-5"]


class PyCpuinfo:
    """Replaces py-cpuinfo: waits for `released`, then returns or raises `result`."""

    def __init__(self, result: Mapping[str, object] | Exception) -> None:
        self.result = result
        self.calls = 0
        self.released = threading.Event()
        self.released.set()

    def __call__(self) -> Mapping[str, object]:
        self.calls += 1
        self.released.wait(30)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def base_of(capabilities: list[HardwareCapability]) -> BaseCapability:
    base = capabilities[0]
    assert isinstance(base, BaseCapability)
    return base


async def test_this_machine() -> None:
    hardware = Hardware()
    await hardware.start()
    try:
        base = base_of(await hardware.capabilities())
    finally:
        await hardware.stop()

    assert base.os_info.name
    assert base.os_info.version
    assert base.cpu_info.model
    assert base.cpu_info.num_cores == len(base.cpu_info.cores) >= 1
    assert "/" in {disk.mount_point for disk in base.disk_info}


async def test_the_wire_format_is_the_documents() -> None:
    wire = msgspec.json.decode(encoder.encode(await Hardware().capabilities()))[0]

    assert wire["capability_id"] == "base"
    assert set(wire["os_info"]) == {"name", "version"}
    assert set(wire["cpu_info"]) == {
        "architecture",
        "byte_order",
        "cores",
        "model",
        "num_cores",
        "vendor_id",
    }
    for disk in wire["disk_info"]:
        assert set(disk) == {"available", "filesystem", "mount_point", "size", "used"}
        assert {type(disk[size]) for size in ("available", "size", "used")} == {int}


async def test_devices_are_in_the_base_and_left_out_where_there_are_none() -> None:
    hardware = Hardware(root_of("raspberry-pi-5-hailo"), py_cpuinfo=dict, timeout=30)
    wire = msgspec.json.decode(encoder.encode(await hardware.capabilities()))
    assert [capability["capability_id"] for capability in wire] == ["base"]
    assert wire[0]["device_info"][0] == {
        "name": "Hailo-8",
        "kind": "npu",
        "path": "/dev/hailo0",
        "driver": "hailo",
    }
    none = await Hardware(root_of("raspberry-pi-5"), py_cpuinfo=dict, timeout=30).capabilities()
    assert set(msgspec.json.decode(encoder.encode(none))[0]) == {
        *("capability_id", "os_info", "cpu_info", "disk_info"),
    }


@pytest.mark.parametrize("machine", ARM_BOARDS)
async def test_every_field_of_an_arm_board_is_filled(machine: str) -> None:
    py_cpuinfo = PyCpuinfo(py_cpuinfo_of(machine))
    hardware = Hardware(
        root_of(machine), architecture=architecture_of(machine), py_cpuinfo=py_cpuinfo, timeout=30
    )

    base = base_of(await hardware.capabilities())

    cpu = base.cpu_info
    assert all((cpu.architecture, cpu.byte_order, cpu.model, cpu.vendor_id, cpu.cores))
    assert all((base.os_info.name, base.os_info.version))
    assert not py_cpuinfo.calls, "the kernel reports every field"


async def test_py_cpuinfo_is_called_once_for_what_the_kernel_does_not_report() -> None:
    py_cpuinfo = PyCpuinfo({"brand_raw": "POWER11", "vendor_id_raw": "IBM"})
    hardware = Hardware(root_of("nowhere"), py_cpuinfo=py_cpuinfo, timeout=30)
    await hardware.start()

    for _ in range(3):
        cpu = base_of(await hardware.capabilities()).cpu_info
        assert (cpu.model, cpu.vendor_id) == ("POWER11", "IBM")
    assert py_cpuinfo.calls == 1
    await hardware.stop()


@pytest.mark.parametrize("error", [ImportError("no cpuinfo"), KeyError("brand_raw"), OSError()])
async def test_py_cpuinfo_may_fail(error: Exception) -> None:
    hardware = Hardware(
        root_of("nowhere"), architecture="riscv64", py_cpuinfo=PyCpuinfo(error), timeout=30
    )

    cpu = base_of(await hardware.capabilities()).cpu_info

    assert (cpu.model, cpu.vendor_id, cpu.architecture) == ("", "", "riscv64")
    assert cpu.num_cores == len(cpu.cores) >= 1


async def test_py_cpuinfo_may_hang() -> None:
    py_cpuinfo = PyCpuinfo({"brand_raw": "late"})
    py_cpuinfo.released.clear()
    hardware = Hardware(root_of("nowhere"), py_cpuinfo=py_cpuinfo, timeout=0.5)
    try:
        await hardware.start()
        base = base_of(await hardware.capabilities())
        assert base.cpu_info.model == ""
        assert base.cpu_info.architecture
        assert base.os_info.name
        await hardware.stop()
    finally:
        py_cpuinfo.released.set()


async def test_stop_does_not_wait_for_a_read_and_may_be_called_twice_or_first() -> None:
    py_cpuinfo = PyCpuinfo({})
    py_cpuinfo.released.clear()
    hardware = Hardware(root_of("nowhere"), py_cpuinfo=py_cpuinfo, timeout=3600)
    try:
        await hardware.stop()
        await hardware.start()
        await hardware.stop()
        await hardware.stop()
    finally:
        py_cpuinfo.released.set()


def test_a_hanging_read_does_not_keep_the_process() -> None:
    program = """
import asyncio, time
from pathlib import Path
from infernet_edge.hardware import Hardware

async def main():
    hardware = Hardware(Path("/nowhere"), py_cpuinfo=lambda: time.sleep(3600), timeout=0.2)
    await hardware.start()
    await hardware.capabilities()
    await hardware.stop()

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=REPOSITORY)


def test_importing_it_is_cheap() -> None:
    program = """
import sys
import infernet_edge.hardware
print(sorted({"psutil", "cpuinfo", "pynvml", "multiprocessing"} & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=REPOSITORY,
    )

    assert result.stdout.strip() == "[]"
