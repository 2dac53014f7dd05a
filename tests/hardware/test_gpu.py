from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from infernet_edge.hardware.gpu import read_gpus
from infernet_edge.schema import GPUCapability, GPUInfo


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

    def nvmlInit(self) -> None:  # noqa: N802
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
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


def test_no_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nvml = FakeNVML("unreachable")
    install(monkeypatch, nvml)

    def fail() -> None:
        raise NVMLError("NVML Shared Library Not Found")

    monkeypatch.setattr(nvml, "nvmlInit", fail)
    assert read_gpus(tmp_path) is None


def test_no_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, None)

    assert read_gpus(tmp_path) is None
