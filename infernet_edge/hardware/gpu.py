"""NVIDIA GPUs, through NVML: the package nvidia-ml-py (the extra `gpu`) and NVIDIA's driver.

A Jetson whose NVML is missing or reports no GPU is read from the device tree, see jetson.py.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infernet_edge.hardware.devices import nvml_files
from infernet_edge.hardware.jetson import read_jetson, shared_memory
from infernet_edge.logs import log_event
from infernet_edge.schema import GPUCapability, GPUInfo

logger = logging.getLogger(__name__)

_NVIDIA, _DISPLAY = "0x10de", "0x03"  # PCI vendor, and prefix of the class (pci_ids.h in Linux)
_MAX_OPENED = 4  # device files that are opened to find out why a GPU cannot be read
_FOR_GUESTS = {"vfio-pci", "pciback"}  # drivers that reserve a GPU for a virtual machine


class GPUReader:
    """Reads the GPUs repeatedly; logs why one cannot be read, once for each reason."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._logged = ""

    def read(self) -> GPUCapability | None:
        """The GPUs, see `read_gpus`. Blocks. One call at a time."""
        problems: list[str] = []
        found = read_gpus(self._root, problems)
        reason = "; ".join(problems)
        if reason and reason != self._logged:
            log_event(
                logger,
                "gpu.read_failed",
                logging.WARNING,
                reason=reason,
                remedy="run infernet-edge doctor for details",
            )
        self._logged = reason
        return found


def read_gpus(root: Path, problems: list[str] | None = None) -> GPUCapability | None:
    """The GPUs and their driver; None when there is none that can be read. Blocks.

    Reasons why an existing GPU is missing are appended to `problems`; none if no GPU exists.
    """
    found: list[str] = []
    read = _read_nvml(root, found)
    if read is None or not read.gpu_info:
        if jetson := read_jetson(root):
            return jetson
        if not found and _has_nvidia_gpu(root):
            found.append("NVML finds no GPU")
        if read is None and not _has_nvidia_gpu(root):
            return None
        found += [f"/{name} cannot be opened: {why}" for name, why in _unopened(root)]
    if problems is not None:
        problems += found
    return read if read and read.gpu_info else None


def _read_nvml(root: Path, problems: list[str]) -> GPUCapability | None:
    try:
        import pynvml
    except ImportError:
        problems.append(
            "the package nvidia-ml-py is not installed; install it with: pip install nvidia-ml-py"
        )
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        problems.append(f"NVML, a library of NVIDIA's driver, reports: {error}")
        return None
    try:
        gpus = _gpus(pynvml, root, problems)
        return GPUCapability(
            driver_version=_query(pynvml, pynvml.nvmlSystemGetDriverVersion) or "",
            cuda_version=_version(_query(pynvml, pynvml.nvmlSystemGetCudaDriverVersion) or 0),
            gpu_info=gpus,
        )
    finally:
        pynvml.nvmlShutdown()


def _gpus(pynvml: Any, root: Path, problems: list[str]) -> list[GPUInfo]:
    """The GPUs that can be read: one that fails does not hide the others."""
    gpus = []
    try:
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as error:
        problems.append(f"NVML cannot count the GPUs: {error}")
        return []
    for index in range(count):
        try:
            gpus.append(_gpu(pynvml, index, root))
        except pynvml.NVMLError as error:
            problems.append(f"GPU {index}: {error}")
    return gpus


def _gpu(pynvml: Any, index: int, root: Path) -> GPUInfo:
    """`index` is NVML's and nvidia-smi's, and CUDA's with CUDA_DEVICE_ORDER=PCI_BUS_ID."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    # Version 2 excludes from `used` what the driver reserves for itself, as nvidia-smi does.
    memory = _query(pynvml, pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)
    memory = memory or _query(pynvml, pynvml.nvmlDeviceGetMemoryInfo, handle)
    total, used = (memory.total, memory.used) if memory else shared_memory(root)
    return GPUInfo(
        name=_query(pynvml, pynvml.nvmlDeviceGetName, handle) or "",
        memory_total=total,
        memory_used=used,
        cuda_device_id=index,
    )


def _query(pynvml: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of an NVML function; None on an error such as NVML_ERROR_NOT_SUPPORTED."""
    try:
        return function(*arguments)
    except pynvml.NVMLError:
        return None


def _version(number: int) -> str:
    """NVML encodes 12.2 as 12020: 1000 * major + 10 * minor."""
    return f"{number // 1000}.{number % 1000 // 10}" if number else ""


def _has_nvidia_gpu(root: Path) -> bool:
    """Whether the kernel or the driver lists one that is not reserved for a virtual machine."""
    if any((root / "dev").glob("nvidia[0-9]*")) or any(
        (root / "proc/driver/nvidia/gpus").glob("*")
    ):
        return True
    devices = (root / "sys/bus/pci/devices").glob("*")
    return any(_is_nvidia_gpu(device) for device in devices)


def _is_nvidia_gpu(device: Path) -> bool:
    """Whether a folder of sysfs-bus-pci is an NVIDIA GPU that this machine itself uses."""
    try:
        vendor, kind = (
            (device / name).read_text("ascii", "replace").strip() for name in ("vendor", "class")
        )
        uevent = (device / "uevent").read_text("ascii", "replace")
    except OSError:
        return False
    reserved = any(f"DRIVER={driver}" in uevent.splitlines() for driver in _FOR_GUESTS)
    return vendor == _NVIDIA and kind.startswith(_DISPLAY) and not reserved


def _unopened(root: Path) -> list[tuple[str, str]]:
    """The device files that this process cannot open, and the reason for each."""
    found = []
    for file in nvml_files(root)[:_MAX_OPENED]:
        try:
            os.close(os.open(file, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
        except OSError as error:
            found.append((str(file.relative_to(root)), error.strerror or str(error)))
    return found
