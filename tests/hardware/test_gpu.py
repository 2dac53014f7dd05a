from __future__ import annotations

import socket
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from infernet_edge.hardware import Hardware
from infernet_edge.hardware.gpu import GPUReader, read_gpus
from infernet_edge.schema import GPUCapability, GPUInfo
from tests.support.events import Events, listen
from tests.support.examining import with_file
from tests.support.machines import root_of


class NVMLError(Exception):
    pass


class FakeNVML(ModuleType):
    """nvidia-ml-py's module, as far as the node uses it, on a machine with these GPUs."""

    def __init__(self, *names: str, memory: tuple[int, int] | None = (24, 3)) -> None:
        super().__init__("pynvml")
        self.NVMLError = NVMLError
        self.nvmlMemory_v2 = self.newest = 2
        self.names, self.memory = names, memory
        self.open = 0
        self.lost: set[int] = set()

    def nvmlInit(self) -> None:  # noqa: N802
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if index in self.lost:
            raise NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return self.names[handle]

    def nvmlDeviceGetMemoryInfo(self, handle: int, version: int = 1) -> Any:  # noqa: N802
        if self.memory is None or version > self.newest:
            raise NVMLError("Not Supported")
        if version == 1:  # with what the driver keeps for itself
            return SimpleNamespace(total=self.memory[0], used=self.memory[1] + RESERVED)
        return SimpleNamespace(total=self.memory[0], used=self.memory[1])

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "550.54.15"

    def nvmlSystemGetCudaDriverVersion(self) -> int:  # noqa: N802
        return 12040


RESERVED = 1


def install(monkeypatch: pytest.MonkeyPatch, module: ModuleType | None) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)


def test_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nvml = FakeNVML("NVIDIA RTX A2000", "NVIDIA T400")
    install(monkeypatch, nvml)

    assert read_gpus(tmp_path) == GPUCapability(
        driver_version="550.54.15",
        cuda_version="12.4",
        gpu_info=[
            GPUInfo(name="NVIDIA RTX A2000", memory_total=24, memory_used=3, cuda_device_id=0),
            GPUInfo(name="NVIDIA T400", memory_total=24, memory_used=3, cuda_device_id=1),
        ],
    )
    assert nvml.open == 0


def test_an_old_driver_counts_what_it_keeps_for_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nvml = FakeNVML("NVIDIA T400")
    nvml.newest = 1
    install(monkeypatch, nvml)
    found = read_gpus(tmp_path)
    assert found is not None
    assert [gpu.memory_used for gpu in found.gpu_info] == [3 + RESERVED]


def test_a_jetson_shares_its_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, FakeNVML("Orin (nvgpu)", memory=None))
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(
        "MemTotal:        7802948 kB\nMemFree: 1 kB\nMemAvailable:    5802948 kB\nHugePages: 0\n"
    )

    capability = read_gpus(tmp_path)

    assert capability is not None
    (gpu,) = capability.gpu_info
    assert (gpu.memory_total, gpu.memory_used) == (7802948 * 1024, 2000000 * 1024)


def test_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nvml = FakeNVML()
    install(monkeypatch, nvml)

    assert read_gpus(tmp_path) is None
    assert nvml.open == 0


def without_driver(monkeypatch: pytest.MonkeyPatch, why: str = "Driver Not Loaded") -> None:
    nvml = FakeNVML("unreachable")
    install(monkeypatch, nvml)

    def fail() -> None:
        raise NVMLError(why)

    monkeypatch.setattr(nvml, "nvmlInit", fail)


def reasons(events: Events) -> list[str]:
    return [fields["reason"] for fields in events.of("gpu.read_failed")]


PC = root_of("debian-12-nvidia-535")
JETSON = root_of("jetson-orin-nano")


def test_no_gpu_is_no_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with_file(tmp_path, "sys/bus/pci/devices/0000:00:02.0/vendor", "0x8086\n")
    for prepare in (without_driver, lambda patch: install(patch, None)):
        prepare(monkeypatch)
        problems: list[str] = []
        assert read_gpus(tmp_path, problems) is None
        assert problems == []


def test_why_a_gpu_cannot_be_read_is_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    without_driver(monkeypatch)
    reader = GPUReader(PC)
    with listen("infernet_edge.hardware") as events:
        assert [reader.read() for _ in range(3)] == [None] * 3
        assert len(reasons(events)) == 1
        assert "Driver Not Loaded" in reasons(events)[0]
        install(monkeypatch, None)  # another reason
        reader.read()
        assert "nvidia-ml-py is not installed" in reasons(events)[1]
        install(monkeypatch, FakeNVML("NVIDIA GeForce RTX 3060"))
        assert reader.read() is not None
        without_driver(monkeypatch)  # again, after it could be read
        reader.read()
    assert len(reasons(events)) == 3


async def test_the_node_logs_it_once_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infernet_edge.hardware.machine.USAGE_KEPT", 0.0)
    without_driver(monkeypatch)
    hardware = Hardware(PC, py_cpuinfo=dict, timeout=30)
    with listen("infernet_edge.hardware") as events:
        for _ in range(3):
            assert len(await hardware.capabilities()) == 1
    assert len(reasons(events)) == 1


@pytest.mark.parametrize(
    "path",
    ["dev/nvidia0", "proc/driver/nvidia/gpus/0000:01:00.0/information"],
)
def test_a_gpu_is_noticed_by_its_driver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str
) -> None:
    without_driver(monkeypatch)
    with_file(tmp_path, path)
    problems: list[str] = []
    assert read_gpus(tmp_path, problems) is None
    assert problems == ["NVML, a library of NVIDIA's driver, reports: Driver Not Loaded"]


@pytest.mark.parametrize(
    ("vendor", "kind", "driver", "noticed"),
    [
        ("0x10de", "0x030000", "nouveau", True),
        ("0x10de", "0x030200", "", True),
        ("0x10de", "0x040300", "snd_hda_intel", False),
        ("0x1002", "0x030000", "amdgpu", False),
        ("0x10de", "0x030000", "vfio-pci", False),
    ],
    ids=["another driver", "no driver", "its sound", "another vendor", "kept for a guest"],
)
def test_a_gpu_is_noticed_on_the_bus(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    vendor: str,
    kind: str,
    driver: str,
    noticed: bool,
) -> None:
    without_driver(monkeypatch, "NVML Shared Library Not Found")
    folder = "sys/bus/pci/devices/0000:01:00.0"
    with_file(tmp_path, f"{folder}/vendor", vendor + "\n")
    with_file(tmp_path, f"{folder}/class", kind + "\n")
    with_file(tmp_path, f"{folder}/uevent", f"DRIVER={driver}\n" if driver else "")
    problems: list[str] = []
    read_gpus(tmp_path, problems)
    assert bool(problems) == noticed


def test_a_device_file_that_cannot_be_opened_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_driver(monkeypatch)
    with_file(tmp_path, "dev/nvidia0")
    monkeypatch.chdir(tmp_path / "dev")  # a socket's path has to be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("nvidiactl")  # opening it fails for root too
    problems: list[str] = []
    read_gpus(tmp_path, problems)
    assert problems[1:] == ["/dev/nvidiactl cannot be opened: No such device or address"]


def test_nvml_finds_none_of_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeNVML())
    problems: list[str] = []
    assert read_gpus(PC, problems) is None
    assert problems[0] == "NVML finds no GPU"


def test_a_lost_gpu_does_not_hide_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nvml = FakeNVML("one", "two", "three")
    nvml.lost = {1}
    install(monkeypatch, nvml)
    problems: list[str] = []
    found = read_gpus(tmp_path, problems)
    assert found is not None
    assert [(gpu.name, gpu.cuda_device_id) for gpu in found.gpu_info] == [("one", 0), ("three", 2)]
    assert problems == ["GPU 1: GPU is lost"]
    nvml.lost = {0, 1, 2}
    problems.clear()
    assert read_gpus(tmp_path, problems) is None
    assert len(problems) == 3
    assert nvml.open == 0


@pytest.mark.parametrize("how", ["no driver", "no package", "no gpu"])
def test_a_jetson_without_nvml_is_read_from_the_device_tree(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "no driver":
        without_driver(monkeypatch)
    else:
        install(monkeypatch, FakeNVML() if how == "no gpu" else None)
    problems: list[str] = []
    found = read_gpus(JETSON, problems)
    assert found is not None
    assert found.gpu_info[0].name == "NVIDIA Jetson Orin Nano Developer Kit"
    assert found.gpu_info[0].memory_total == 7802948 * 1024
    assert problems == []
