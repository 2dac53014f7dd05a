"""NVIDIA GPUs, through NVML: the package nvidia-ml-py (the extra `gpu`) and NVIDIA's driver."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from infernet_edge.schema import GPUCapability, GPUInfo


def read_gpus(root: Path) -> GPUCapability | None:
    """The GPUs and their driver; None without the package, the driver or a GPU. Blocks."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        gpus = [_gpu(pynvml, index, root) for index in range(pynvml.nvmlDeviceGetCount())]
        if not gpus:
            return None
        return GPUCapability(
            driver_version=_ask(pynvml, pynvml.nvmlSystemGetDriverVersion) or "",
            cuda_version=_version(_ask(pynvml, pynvml.nvmlSystemGetCudaDriverVersion) or 0),
            gpu_info=gpus,
        )
    finally:
        pynvml.nvmlShutdown()


def _gpu(pynvml: Any, index: int, root: Path) -> GPUInfo:
    """`index` is NVML's and nvidia-smi's, and CUDA's with CUDA_DEVICE_ORDER=PCI_BUS_ID."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    # Version 2 leaves out of `used` what the driver keeps for itself, as nvidia-smi does.
    memory = _ask(pynvml, pynvml.nvmlDeviceGetMemoryInfo, handle, pynvml.nvmlMemory_v2)
    memory = memory or _ask(pynvml, pynvml.nvmlDeviceGetMemoryInfo, handle)
    total, used = (memory.total, memory.used) if memory else _shared_memory(root)
    return GPUInfo(
        name=_ask(pynvml, pynvml.nvmlDeviceGetName, handle) or "",
        memory_total=total,
        memory_used=used,
        cuda_device_id=index,
    )


def _ask(pynvml: Any, question: Callable[..., Any], *arguments: Any) -> Any:
    """The answer; None where this driver does not know it (NVML_ERROR_NOT_SUPPORTED)."""
    try:
        return question(*arguments)
    except pynvml.NVMLError:
        return None


def _version(number: int) -> str:
    """NVML gives 12.2 as 12020: 1000 * major + 10 * minor."""
    return f"{number // 1000}.{number % 1000 // 10}" if number else ""


def _shared_memory(root: Path) -> tuple[int, int]:
    """Bytes of memory, all and used: a Jetson's GPU has none of its own, and NVML gives none."""
    try:
        lines = (root / "proc/meminfo").read_text("ascii", "replace").splitlines()
    except OSError:
        return 0, 0
    pairs = (line.split() for line in lines)
    kibibytes = {pair[0]: int(pair[1]) for pair in pairs if len(pair) > 1}
    total = kibibytes.get("MemTotal:", 0)
    return total * 1024, (total - kibibytes.get("MemAvailable:", total)) * 1024
