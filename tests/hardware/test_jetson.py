from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from infernet_edge.hardware.jetson import read_jetson, shared_memory
from infernet_edge.schema import GPUCapability, GPUInfo
from tests.support.examining import with_file
from tests.support.machines import root_of


def test_an_orin() -> None:
    assert read_jetson(root_of("jetson-orin-nano")) == GPUCapability(
        driver_version="36.4.0",
        cuda_version="12.6",
        gpu_info=[
            GPUInfo(
                name="NVIDIA Jetson Orin Nano Developer Kit",
                memory_total=7802948 * 1024,
                memory_used=2000000 * 1024,
                cuda_device_id=0,
            )
        ],
    )


def test_a_nano_with_older_software_and_without_cuda() -> None:
    found = read_jetson(root_of("jetson-nano"))
    assert found is not None
    assert (found.driver_version, found.cuda_version) == ("32.7.4", "")
    assert found.gpu_info[0].memory_total == 4059252 * 1024


@pytest.mark.parametrize(
    ("chip", "name"),
    [
        ("nvidia,tegra234", "NVIDIA Orin"),
        ("nvidia,tegra194", "NVIDIA Xavier"),
        ("nvidia,tegra186", "NVIDIA Tegra X2"),
        ("nvidia,tegra264", "NVIDIA Thor"),
    ],
)
def test_without_a_model_the_chip_names_it(tmp_path: Path, chip: str, name: str) -> None:
    with_file(tmp_path, "sys/firmware/devicetree/base/compatible", f"a,board\0{chip}\0")
    found = read_jetson(tmp_path)
    assert found is not None
    assert [(gpu.name, gpu.memory_total) for gpu in found.gpu_info] == [(name, 0)]


@pytest.mark.parametrize("text", ["{", "[]", '{"cuda": {"version": 12}}', "\0"])
def test_files_in_another_format_are_ignored(tmp_path: Path, text: str) -> None:
    shutil.copytree(root_of("jetson-orin-nano"), tmp_path, dirs_exist_ok=True)
    with_file(tmp_path, "usr/local/cuda/version.json", text)
    with_file(tmp_path, "etc/nv_tegra_release", text)
    with_file(tmp_path, "proc/meminfo", f"MemTotal: {text} kB\nMemAvailable:\n")
    found = read_jetson(tmp_path)
    assert found is not None
    assert (found.driver_version, found.cuda_version) == ("", "")
    assert shared_memory(tmp_path) == (0, 0)


@pytest.mark.parametrize("machine", ["raspberry-pi-5", "orange-pi-5", "debian-12-nvidia-535"])
def test_other_machines_are_not_jetsons(machine: str) -> None:
    assert read_jetson(root_of(machine)) is None


def test_a_tegra_without_cuda_is_ignored(tmp_path: Path) -> None:
    with_file(tmp_path, "proc/device-tree/compatible", "toradex,apalis_t30\0nvidia,tegra30\0")
    assert read_jetson(tmp_path) is None
