"""How full, how hot and how slow this machine is now: disk, memory, temperature, throttling."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

# Words in the types of thermal zones, and names of hwmon devices, that are those of a processor.
_PROCESSORS: Final = ("cpu", "soc", "x86_pkg", "package", "coretemp", "k10temp", "zenpower")
_PLAUSIBLE: Final = range(-40_000, 150_000)  # thousandths of a degree Celsius
# Bits of the firmware of a Raspberry Pi, as vcgencmd get_throttled documents them.
_UNDER_VOLTAGE: Final = 1 << 0
_THROTTLED: Final = 1 << 2 | 1 << 3  # and the soft limit of the temperature
# Drivers of cooling devices that slow a processor down; a state above 0 means that it is slower.
_SLOWING: Final = ("thermal-cpufreq", "cpufreq")


class MachineState(Struct, frozen=True, kw_only=True):
    """What is used of the machine; sizes in bytes, None for what is not known.

    `under_voltage`: the power supply is too weak now, which only a Raspberry Pi reports.
    """

    disk_free: int | None = None
    disk_size: int | None = None
    memory_used: int | None = None
    memory_size: int | None = None
    temperature_c: float | None = None
    throttled: bool | None = None
    under_voltage: bool | None = None


def read_usage(root: Path, folder: Path) -> MachineState:
    """The disk of `folder`, and the rest from /proc and /sys below `root`. Blocks.

    Sources: statvfs(3), proc_meminfo(5), and the kernel's documentation of the interfaces
    sysfs-class-thermal and hwmon.
    """
    free = size = None
    try:
        disk = os.statvfs(folder)
        free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    except OSError:
        pass  # the storage reports that itself
    used, total = _memory(root)
    firmware = _firmware(root)
    return MachineState(
        disk_free=free,
        disk_size=size,
        memory_used=used,
        memory_size=total,
        temperature_c=_temperature(root),
        throttled=_is_slowed(root) if firmware is None else bool(firmware & _THROTTLED),
        under_voltage=None if firmware is None else bool(firmware & _UNDER_VOLTAGE),
    )


def _memory(root: Path) -> tuple[int | None, int | None]:
    pairs = (line.split() for line in _text(root / "proc/meminfo").splitlines())
    kibibytes = {pair[0]: int(pair[1]) for pair in pairs if len(pair) > 1 and pair[1].isdecimal()}
    total, free = kibibytes.get("MemTotal:"), kibibytes.get("MemAvailable:")
    if total is None or free is None:
        return None, None
    return (total - free) * 1024, total * 1024


def _temperature(root: Path) -> float | None:
    """The hottest sensor of the processor in degrees Celsius; any other one where it has none."""
    found = [*_zones(root), *_sensors(root)]
    of_processor = [value for name, value in found if any(word in name for word in _PROCESSORS)]
    hottest = max(of_processor or [value for _, value in found], default=None)
    return None if hottest is None else round(hottest / 1000, 1)


def _zones(root: Path) -> Iterator[tuple[str, int]]:
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        value = _number(zone / "temp")
        if value in _PLAUSIBLE and value:
            yield _text(zone / "type").strip().lower(), value


def _sensors(root: Path) -> Iterator[tuple[str, int]]:
    for device in sorted(root.glob("sys/class/hwmon/hwmon*")):
        name = _text(device / "name").strip().lower()
        for file in sorted(device.glob("temp*_input")):
            value = _number(file)
            if value in _PLAUSIBLE and value:
                yield name, value


def _firmware(root: Path) -> int | None:
    """The bits of a Raspberry Pi's firmware, of which the lowest four say what is now."""
    for file in root.glob("sys/devices/platform/soc*/*firmware/get_throttled"):
        try:
            return int(_text(file).strip(), 16)
        except ValueError:
            continue
    return None


def _is_slowed(root: Path) -> bool | None:
    """Whether the kernel slows the processor down because of heat; None where it cannot."""
    states = [
        _number(device / "cur_state")
        for device in root.glob("sys/class/thermal/cooling_device*")
        if _text(device / "type").startswith(_SLOWING)
    ]
    known = [state for state in states if state is not None]
    return any(known) if known else None


def _number(file: Path) -> int | None:
    try:
        return int(_text(file).strip())
    except ValueError:
        return None


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:  # some sensors answer with an error while they are off
        return ""
