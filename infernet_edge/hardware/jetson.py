"""The GPU of a Jetson, by the device tree: for machines whose NVML is missing or reports no GPU.

The chip is in the property `compatible` of the device tree's root, as in Linux's
Documentation/devicetree/bindings/arm/tegra.yaml. The GPU is a part of it and shares the machine's
memory.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from infernet_edge.schema import GPUCapability, GPUInfo

_CHIP = re.compile(r"nvidia,tegra(\d+)")
_CHIPS = {
    "124": "NVIDIA Tegra K1",
    "132": "NVIDIA Tegra K1",
    "210": "NVIDIA Tegra X1",
    "186": "NVIDIA Tegra X2",
    "194": "NVIDIA Xavier",
    "234": "NVIDIA Orin",
    "264": "NVIDIA Thor",
}
"""The chips whose GPU runs CUDA, by the number after "tegra"."""

# The first path is a link to the second, and is missing where /proc is restricted.
_TREES = ("proc/device-tree", "sys/firmware/devicetree/base")
_RELEASE = re.compile(r"R(\d+) .*?REVISION: (\d[\d.]*)")


def read_jetson(root: Path) -> GPUCapability | None:
    """The GPU with the name of the machine and its memory; None on other machines. Blocks.

    The driver's version is that of Jetson Linux, CUDA's that of the toolkit; "" if not installed.
    """
    chip, model = _chip(root), _property(root, "model")
    if not chip and "Jetson" not in model:
        return None
    total, used = shared_memory(root)
    return GPUCapability(
        driver_version=_driver_version(root),
        cuda_version=_cuda_version(root),
        gpu_info=[
            GPUInfo(
                name=model or chip,
                memory_total=total,
                memory_used=used,
                cuda_device_id=0,
            )
        ],
    )


def shared_memory(root: Path) -> tuple[int, int]:
    """Bytes of the machine's memory, all and used, by proc_meminfo(5); zeros when not known."""
    pairs = (line.split() for line in _text(root / "proc/meminfo").splitlines())
    kibibytes = {pair[0]: int(pair[1]) for pair in pairs if len(pair) > 1 and pair[1].isdecimal()}
    total = kibibytes.get("MemTotal:", 0)
    return total * 1024, (total - kibibytes.get("MemAvailable:", total)) * 1024


def _chip(root: Path) -> str:
    found = _CHIP.findall(_property(root, "compatible"))
    return next((_CHIPS[number] for number in found if number in _CHIPS), "")


def _property(root: Path, name: str) -> str:
    """A property of the tree's root: strings with a NUL byte at the end of each."""
    texts = (_text(root / tree / name).replace("\0", " ").strip() for tree in _TREES)
    return next(filter(None, texts), "")


def _driver_version(root: Path) -> str:
    """36.4.0 of "# R36 (release), REVISION: 4.0, GCID: …", a file of Jetson Linux."""
    match = _RELEASE.search(_text(root / "etc/nv_tegra_release"))
    return f"{match[1]}.{match[2]}" if match else ""


def _cuda_version(root: Path) -> str:
    """Major and minor number, as NVML reports them, from a file of CUDA's packages."""
    try:
        document = msgspec.json.decode(_text(root / "usr/local/cuda/version.json"))
        return ".".join(document["cuda"]["version"].split(".")[:2])
    except (msgspec.DecodeError, RecursionError, LookupError, TypeError, AttributeError):
        return ""


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""
