"""Device files of GPUs, NPUs and render nodes: which exist, their kinds, drivers and groups."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from infernet_edge.schema import DeviceInfo

MAX_FILES = 256
"""Maximum number of device files that are checked in one folder such as /dev/bus/usb."""

# Where the kernel's drivers put GPUs, below /dev.
_NVIDIA = ("nvidiactl", "nvidia[0-9]*", "nvidia-uvm*", "nvidia-modeset", "nvidia-caps/nvidia-cap*")
_JETSON = ("nvmap", "nvhost-*", "nvgpu/*/*", "host1x-fence")  # nvgpu since JetPack 5
_NVML = (
    *("nvidiactl", "nvidia[0-9]*", "nvidia-uvm"),
    *("nvmap", "nvhost-ctrl-gpu", "nvgpu/*/ctrl", "nvgpu/*/power"),
)
_ROCM = ("kfd",)
_RENDER = ("dri/renderD[0-9]*",)

# The names that lspci and the kernel's Kconfig give to what these drivers serve.
_RENDERERS = {
    "amdgpu": "AMD GPU",
    "etnaviv": "Vivante GPU",
    "i915": "Intel GPU",
    "lima": "Arm Mali GPU",
    "msm": "Qualcomm Adreno GPU",
    "nouveau": "NVIDIA GPU",
    "nvidia": "NVIDIA GPU",
    "panfrost": "Arm Mali GPU",
    "panthor": "Arm Mali GPU",
    "radeon": "AMD GPU",
    "v3d": "Broadcom VideoCore GPU",
    "vc4": "Broadcom VideoCore GPU",
    "virtio_gpu": "virtual GPU",
    "xe": "Intel GPU",
}
_ACCELERATORS = {
    "amdxdna": "AMD XDNA NPU",
    "ethosu": "Arm Ethos-U NPU",
    "habanalabs": "Intel Gaudi",
    "intel_vpu": "Intel NPU",
    "qaic": "Qualcomm Cloud AI 100",
    "rknpu": "Rockchip NPU",  # the vendor's driver shows it as a render node
    "rocket": "Rockchip NPU",
}
_HAILO = {"1e60:2864": "Hailo-8", "1e60:45c4": "Hailo-10H"}  # PCI ids
# USB ids, before and after the firmware was loaded into it (Coral's udev rules).
_CORAL_USB = {"1a6e:089a", "18d1:9302"}


def read_devices(root: Path) -> list[DeviceInfo]:
    """NPUs and render nodes whose device files exist below `root`. Blocks for a moment.

    They are recognised by their files in /dev and described by /sys; none is opened.
    """
    return [*_npus(root), *_usb_corals(root), *_accelerators(root), *_render_nodes(root)]


def gpu_files(root: Path) -> list[Path]:
    """The device files of GPUs below `root`, at most MAX_FILES. Blocks for a moment."""
    return _matching(root, (*_NVIDIA, *_JETSON, *_ROCM, *_RENDER))


def nvml_files(root: Path) -> list[Path]:
    """The device files that NVML and CUDA need, on a Jetson too. Blocks.

    Others, such as nvidia-caps/nvidia-cap1 and a Jetson's nvhost-sched-gpu, are only for root.
    """
    return _matching(root, _NVML)


def jetson_files(root: Path) -> list[Path]:
    """The device files of a Jetson's GPU, render nodes among them; none elsewhere. Blocks."""
    found = _matching(root, _JETSON)
    return [*found, *_matching(root, _RENDER)] if found else []


def files_of(path: Path) -> list[Path]:
    """The device files behind a configured path: itself, or all in a folder, as Podman takes them.

    At most MAX_FILES; none where nothing exists. Blocks for a moment.
    """
    if path.is_dir():
        return list(islice(_below(path), MAX_FILES))
    return [path] if path.exists() else []


def groups_of(files: Iterable[Path]) -> list[int]:
    """The ids of the groups that own these files, root's excepted. Blocks for a moment."""
    found: set[int] = set()
    for file in files:
        try:
            found.add(file.stat().st_gid)
        except OSError:  # the device was unplugged in the meantime
            continue
    return sorted(found - {0})


def _matching(root: Path, patterns: Iterable[str]) -> list[Path]:
    found = (file for pattern in patterns for file in sorted((root / "dev").glob(pattern)))
    return list(islice((file for file in found if not file.is_dir()), MAX_FILES))


def _below(folder: Path) -> Iterator[Path]:
    for path, _, names in os.walk(folder):
        for name in sorted(names):
            yield Path(path, name)


def _npus(root: Path) -> Iterator[DeviceInfo]:
    for file in _files(root, "hailo[0-9]*"):
        device = root / f"sys/class/hailo_chardev/{file.name}/device"
        ids = f"{_text(device / 'vendor')}:{_text(device / 'device')}".replace("0x", "")
        yield _device(root, file, _HAILO.get(ids, "Hailo NPU"), "npu", _driver(device))
    for file in _files(root, "apex_[0-9]*"):
        device = root / f"sys/class/apex/{file.name}/device"
        yield _device(root, file, "Coral Edge TPU", "npu", _driver(device))


def _usb_corals(root: Path) -> Iterator[DeviceInfo]:
    for device in islice(sorted((root / "sys/bus/usb/devices").glob("*")), MAX_FILES):
        if f"{_text(device / 'idVendor')}:{_text(device / 'idProduct')}" not in _CORAL_USB:
            continue
        bus, number = _text(device / "busnum"), _text(device / "devnum")
        if bus.isdecimal() and number.isdecimal():
            file = root / f"dev/bus/usb/{int(bus):03}/{int(number):03}"
            if file.exists():
                yield _device(root, file, "Coral USB Accelerator", "npu", "")


def _accelerators(root: Path) -> Iterator[DeviceInfo]:
    for file in _files(root, "accel/accel[0-9]*"):
        driver = _driver(root / f"sys/class/accel/{file.name}/device")
        yield _device(root, file, _ACCELERATORS.get(driver, "accelerator"), "npu", driver)


def _render_nodes(root: Path) -> Iterator[DeviceInfo]:
    for file in _files(root, "dri/renderD[0-9]*"):
        driver = _driver(root / f"sys/class/drm/{file.name}/device")
        if driver in _ACCELERATORS:
            yield _device(root, file, _ACCELERATORS[driver], "npu", driver)
        else:
            yield _device(root, file, _RENDERERS.get(driver, "GPU"), "render", driver)


def _files(root: Path, pattern: str) -> list[Path]:
    found = (root / "dev").glob(pattern)
    return sorted(islice(found, MAX_FILES), key=lambda file: (len(file.name), file.name))


def _device(root: Path, file: Path, name: str, kind: str, driver: str) -> DeviceInfo:
    return DeviceInfo(name=name, kind=kind, path=f"/{file.relative_to(root)}", driver=driver)


def _driver(device: Path) -> str:
    """The driver, by the uevent file that the kernel has for each device."""
    lines = _text(device / "uevent").splitlines()
    return next((line.removeprefix("DRIVER=") for line in lines if line.startswith("DRIVER=")), "")


def _text(file: Path) -> str:
    try:
        return file.read_text("ascii", "replace").strip()
    except OSError:
        return ""
