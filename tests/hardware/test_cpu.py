from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest

from infernet_edge.hardware.cpu import cpu_info, query_py_cpuinfo, read_processor
from infernet_edge.schema import CPUInfo
from tests.support.machines import FOLDER, architecture_of, py_cpuinfo_of, root_of

BOARDS = {
    "raspberry-pi-5": "Cortex-A76 (Raspberry Pi 5 Model B Rev 1.0)",
    "raspberry-pi-4": "Cortex-A72 (Raspberry Pi 4 Model B Rev 1.2)",
    "jetson-orin-nano": "Cortex-A78AE (NVIDIA Jetson Orin Nano Developer Kit)",
    "jetson-nano": "Cortex-A57 (NVIDIA Jetson Nano Developer Kit)",
    "orange-pi-5": "Cortex-A55 + Cortex-A76 (Orange Pi 5)",
}


def cpu_of(root: Path, architecture: str = "aarch64", **fallback: object) -> CPUInfo:
    return cpu_info(read_processor(root, architecture), fallback)


def machine_with(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def test_every_recorded_machine_is_expected_to_be_something() -> None:
    recorded = {file.parent.name for file in FOLDER.glob("*/py-cpuinfo.json")}
    assert recorded == set(BOARDS)


@pytest.mark.parametrize("machine", BOARDS)
def test_boards_are_known_without_py_cpuinfo(machine: str) -> None:
    processor = read_processor(root_of(machine), architecture_of(machine))

    assert processor.is_known
    cpu = cpu_info(processor, {})
    assert cpu.model == BOARDS[machine]
    assert cpu.vendor_id == "ARM"
    assert cpu.architecture == architecture_of(machine)
    assert cpu.byte_order == ("Little Endian" if sys.byteorder == "little" else "Big Endian")
    assert cpu.num_cores == len(cpu.cores) >= 4


@pytest.mark.parametrize("machine", BOARDS)
def test_py_cpuinfo_does_not_override_known_values(machine: str) -> None:
    assert cpu_of(root_of(machine), **py_cpuinfo_of(machine)) == cpu_of(root_of(machine))


@pytest.mark.parametrize(
    ("machine", "cores"),
    [
        ("raspberry-pi-5", [f"{n}: 1800 MHz (1500-2400)" for n in range(4)]),
        ("raspberry-pi-4", [f"{n}: 600 MHz (600-1500)" for n in range(4)]),
        (
            "jetson-orin-nano",
            [
                *(f"{n}: 1510 MHz (115-1510)" for n in range(4)),
                "4: 730 MHz (115-1510)",
                "5: 730 MHz (115-1510)",
            ],
        ),
    ],
)
def test_each_core_has_its_frequencies(machine: str, cores: list[str]) -> None:
    assert cpu_of(root_of(machine)).cores == cores


def test_cores_that_are_switched_off_are_left_out(tmp_path: Path) -> None:
    # A Jetson's power modes do that.
    machine_with(tmp_path, {"sys/devices/system/cpu/online": "0-1,4\n"})

    assert cpu_of(tmp_path).cores == ["0", "1", "4"]


def test_cores_show_the_frequencies_that_there_are(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu"
    machine_with(
        tmp_path,
        {
            f"{cpu}/online": "0-2\n",
            f"{cpu}/cpu0/cpufreq/cpuinfo_min_freq": "600000\n",
            f"{cpu}/cpu0/cpufreq/cpuinfo_max_freq": "1800000\n",
            f"{cpu}/cpu1/cpufreq/scaling_cur_freq": "<unknown>\n",
            "proc/cpuinfo": "processor\t: 2\nmodel name\t: Xeon  W\ncpu MHz\t\t: 2599.998\n",
        },
    )

    assert cpu_of(tmp_path).cores == ["0: 600-1800 MHz", "1", "2: 2600 MHz"]


def test_cores_are_counted_where_the_kernel_does_not_list_them(tmp_path: Path) -> None:
    assert cpu_of(tmp_path).num_cores == os.cpu_count()


def test_x86_is_read_from_proc(tmp_path: Path) -> None:
    cpuinfo = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD  Ryzen 7   5800U\n"
    machine_with(tmp_path, {"proc/cpuinfo": cpuinfo})

    processor = read_processor(tmp_path, "x86_64")
    assert processor.is_known
    cpu = cpu_info(processor, {})
    assert (cpu.model, cpu.vendor_id) == ("AMD Ryzen 7 5800U", "AuthenticAMD")


NEW_CORE = """\
processor\t: 0
model name\t: ARMv8 Processor rev 1 (v8l)
CPU implementer\t: 0x41
CPU part\t: 0xfff
"""


def test_py_cpuinfo_names_a_core_that_is_new(tmp_path: Path) -> None:
    machine_with(tmp_path, {"proc/cpuinfo": NEW_CORE, "proc/device-tree/model": "Raspberry Pi 9\0"})

    assert not read_processor(tmp_path, "aarch64").is_known
    assert cpu_of(tmp_path, brand_raw="Cortex-A999").model == "Cortex-A999 (Raspberry Pi 9)"
    assert cpu_of(tmp_path).model == "ARMv8 Processor rev 1 (v8l) (Raspberry Pi 9)"
    assert cpu_of(tmp_path).vendor_id == "ARM"


def test_the_board_is_found_without_proc_device_tree(tmp_path: Path) -> None:
    machine_with(
        tmp_path,
        {"proc/cpuinfo": NEW_CORE, "sys/firmware/devicetree/base/model": "Jetson AGX Thor\0"},
    )

    assert "Jetson AGX Thor" in cpu_of(tmp_path).model


def test_old_kernels_give_the_board_in_cpuinfo(tmp_path: Path) -> None:
    cpuinfo = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xb76\n\nModel\t\t: Pi Zero W\n"
    machine_with(tmp_path, {"proc/cpuinfo": cpuinfo})

    assert cpu_of(tmp_path).model == "ARM1176 (Pi Zero W)"


def test_py_cpuinfo_is_used_where_nothing_is_known(tmp_path: Path) -> None:
    cpu = cpu_of(tmp_path, "", brand_raw="M9", vendor_id_raw="Apple", arch_string_raw="arm64")

    assert (cpu.model, cpu.vendor_id, cpu.architecture) == ("M9", "Apple", "arm64")


def test_fields_of_py_cpuinfo_that_are_not_text_are_ignored(tmp_path: Path) -> None:
    cpu = cpu_of(tmp_path, brand_raw=None, vendor_id_raw=7)

    assert (cpu.model, cpu.vendor_id) == ("", "")


def test_invalid_files_are_ignored(tmp_path: Path) -> None:
    machine_with(
        tmp_path,
        {
            "proc/cpuinfo": "\n\n:\nprocessor: x\nCPU implementer\t: ARM\nCPU part: ?\ncpu MHz: -",
            "sys/devices/system/cpu/online": "\n",
        },
    )
    (tmp_path / "proc/device-tree").mkdir()
    (tmp_path / "proc/device-tree/model").write_bytes(b"\xff\xfe\0")

    cpu = cpu_of(tmp_path)
    assert cpu.num_cores == os.cpu_count()
    cpu.model.encode()


def test_this_machine() -> None:
    cpu = cpu_of(Path("/"), platform.machine())

    assert cpu.model
    assert cpu.architecture == platform.machine()
    assert 1 <= cpu.num_cores <= (os.cpu_count() or 1)


def test_py_cpuinfo_agrees_about_this_machine() -> None:
    values = query_py_cpuinfo()
    processor = read_processor(Path("/"), platform.machine())

    assert values["arch_string_raw"] == processor.architecture
    if "vendor_id_raw" in values and processor.vendor:
        assert values["vendor_id_raw"] == processor.vendor
