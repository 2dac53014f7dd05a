"""The temperature of this machine, by the kernel's thermal zones, else by its sensors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_MAX_SENSORS: Final = 256  # that are read
_MIN_CELSIUS: Final = -60.0
_MAX_CELSIUS: Final = 200.0  # what is outside of these two is no temperature: a sensor without one


def read_temperature(root: Path = Path("/")) -> float | None:
    """The highest of its temperatures in degrees Celsius; None when it reports none. Blocks.

    See Documentation/driver-api/thermal/sysfs-api.rst and hwmon/sysfs-interface.rst in the source
    of Linux: both give thousandths of a degree.
    """
    for pattern in ("class/thermal/thermal_zone*/temp", "class/hwmon/hwmon*/temp*_input"):
        if found := list(_readings(sorted((root / "sys").glob(pattern))[:_MAX_SENSORS])):
            return max(found)
    return None


def _readings(files: list[Path]) -> Iterator[float]:
    for file in files:
        try:
            celsius = int(file.read_text()) / 1000
        except (OSError, ValueError):  # many sensors cannot be read while they are off
            continue
        if _MIN_CELSIUS < celsius < _MAX_CELSIUS:
            yield celsius
