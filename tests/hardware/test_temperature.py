"""Temperatures, from the files of Linux."""

from __future__ import annotations

from pathlib import Path

from infernet_edge.hardware.temperature import read_temperature


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_highest_of_the_thermal_zones(tmp_path: Path) -> None:
    for number, text in enumerate(("41250\n", "63500\n", "-1\n")):
        write(tmp_path / f"sys/class/thermal/thermal_zone{number}/temp", text)
    write(tmp_path / "sys/class/hwmon/hwmon0/temp1_input", "90000\n")
    assert read_temperature(tmp_path) == 63.5


def test_what_is_no_temperature_is_left_out(tmp_path: Path) -> None:
    """Sensors that are off report impossible values, or none."""
    for number, text in enumerate(("-274000\n", "255000\n", "", "unknown\n", "30000\n")):
        write(tmp_path / f"sys/class/thermal/thermal_zone{number}/temp", text)
    (tmp_path / "sys/class/thermal/thermal_zone9/temp").mkdir(parents=True)
    assert read_temperature(tmp_path) == 30.0


def test_without_zones_the_sensors_are_read(tmp_path: Path) -> None:
    write(tmp_path / "sys/class/hwmon/hwmon0/temp1_input", "45000\n")
    write(tmp_path / "sys/class/hwmon/hwmon1/temp2_input", "46000\n")
    write(tmp_path / "sys/class/hwmon/hwmon1/temp2_max", "100000\n")
    assert read_temperature(tmp_path) == 46.0


def test_a_machine_without_sensors(tmp_path: Path) -> None:
    assert read_temperature(tmp_path) is None
