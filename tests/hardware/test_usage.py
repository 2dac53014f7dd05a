"""How full, hot and slow a machine is, by the files of its kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infernet_edge.hardware.usage import read_usage

PI = "sys/devices/platform/soc/soc:firmware/get_throttled"
PI_5 = "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def zone(number: int, kind: str, value: str) -> dict[str, str]:
    folder = f"sys/class/thermal/thermal_zone{number}"
    return {f"{folder}/type": f"{kind}\n", f"{folder}/temp": value}


def sensor(number: int, name: str, *values: str) -> dict[str, str]:
    folder = f"sys/class/hwmon/hwmon{number}"
    files = {f"{folder}/temp{at}_input": value for at, value in enumerate(values, 1)}
    return {f"{folder}/name": f"{name}\n", **files}


def test_this_machine(tmp_path: Path) -> None:
    found = read_usage(Path("/"), tmp_path)
    disk = os.statvfs(tmp_path)
    assert found.disk_size == disk.f_blocks * disk.f_frsize
    assert found.disk_free is not None
    assert 0 < found.disk_free <= disk.f_blocks * disk.f_frsize
    assert found.memory_size == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert found.memory_used is not None
    assert 0 < found.memory_used < found.memory_size


def test_a_machine_without_these_files(tmp_path: Path) -> None:
    found = read_usage(tmp_path, tmp_path / "missing")
    assert all(getattr(found, name) is None for name in found.__struct_fields__)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (zone(0, "cpu-thermal", "48312\n"), 48.3),
        (zone(0, "acpitz", "27800") | zone(1, "x86_pkg_temp", "61000"), 61.0),
        (zone(0, "acpitz", "90000") | sensor(0, "coretemp", "51000", "53000"), 53.0),
        (sensor(0, "nvme", "70000") | sensor(1, "k10temp", "45125"), 45.1),
        (sensor(0, "nvme", "39850"), 39.9),  # nothing else is known
        (zone(0, "cpu-thermal", "-273000") | zone(1, "soc-thermal", "40000"), 40.0),
        (zone(0, "cpu-thermal", "no number"), None),
        (zone(0, "cpu-thermal", ""), None),
    ],
)
def test_temperature(tmp_path: Path, files: dict[str, str], expected: float | None) -> None:
    found = read_usage(machine(tmp_path, files), tmp_path).temperature_c
    assert found == (None if expected is None else pytest.approx(expected, abs=0.06))


@pytest.mark.parametrize("place", [PI, PI_5])
@pytest.mark.parametrize(
    ("text", "throttled", "weak"),
    [
        ("0\n", False, False),
        ("50005\n", True, True),
        ("50000\n", False, False),  # it was, since the start
        ("8", True, False),
        ("2", False, False),
        ("1", False, True),
        ("", None, None),
        ("error", None, None),
    ],
)
def test_raspberry_pi(
    tmp_path: Path, place: str, text: str, throttled: bool | None, weak: bool | None
) -> None:
    found = read_usage(machine(tmp_path, {place: text}), tmp_path)
    assert (found.throttled, found.under_voltage) == (throttled, weak)


@pytest.mark.parametrize(
    ("kind", "state", "expected"),
    [
        ("thermal-cpufreq-0", "0", False),
        ("thermal-cpufreq-0", "3", True),
        ("pwm-fan", "3", None),
        ("thermal-cpufreq-0", "", None),
    ],
)
def test_other_boards(tmp_path: Path, kind: str, state: str, expected: bool | None) -> None:
    folder = "sys/class/thermal/cooling_device0"
    files = {f"{folder}/type": f"{kind}\n", f"{folder}/cur_state": f"{state}\n"}
    assert read_usage(machine(tmp_path, files), tmp_path).throttled == expected
