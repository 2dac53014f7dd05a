from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from infernet_edge.hardware.devices import (
    MAX_FILES,
    files_of,
    gpu_files,
    groups_of,
    nvml_files,
    read_devices,
)
from infernet_edge.schema import DeviceInfo
from tests.support.examining import with_file
from tests.support.machines import root_of


def test_a_raspberry_pi_with_a_hailo_and_a_coral() -> None:
    assert read_devices(root_of("raspberry-pi-5-hailo")) == [
        DeviceInfo("Hailo-8", "npu", "/dev/hailo0", "hailo"),
        DeviceInfo("Coral USB Accelerator", "npu", "/dev/bus/usb/002/004", ""),
        DeviceInfo("Broadcom VideoCore GPU", "render", "/dev/dri/renderD128", "v3d"),
    ]


def test_a_pc_has_a_render_node() -> None:
    assert read_devices(root_of("debian-12-nvidia-535")) == [
        DeviceInfo("NVIDIA GPU", "render", "/dev/dri/renderD128", "nvidia")
    ]


def test_nothing_is_there(tmp_path: Path) -> None:
    assert read_devices(tmp_path) == []
    assert gpu_files(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "driver", "expected"),
    [
        ("hailo1", "", DeviceInfo("Hailo NPU", "npu", "/dev/hailo1", "")),
        ("apex_0", "class/apex/apex_0", DeviceInfo("Coral Edge TPU", "npu", "/dev/apex_0", "x")),
        (
            "accel/accel0",
            "class/accel/accel0",
            DeviceInfo("accelerator", "npu", "/dev/accel/accel0", "x"),
        ),
        (
            "dri/renderD130",
            "class/drm/renderD130",
            DeviceInfo("GPU", "render", "/dev/dri/renderD130", "x"),
        ),
    ],
)
def test_an_unknown_device_has_the_known_fields(
    tmp_path: Path, file: str, driver: str, expected: DeviceInfo
) -> None:
    with_file(tmp_path, f"dev/{file}")
    if driver:
        with_file(tmp_path, f"sys/{driver}/device/uevent", "MODALIAS=y\nDRIVER=x\n")
    assert read_devices(tmp_path) == [expected]


def test_a_rockchip_npu_is_not_a_gpu_although_it_is_a_render_node(tmp_path: Path) -> None:
    for number, driver in ((128, "panthor"), (129, "rknpu")):
        with_file(tmp_path, f"dev/dri/renderD{number}")
        with_file(tmp_path, f"sys/class/drm/renderD{number}/device/uevent", f"DRIVER={driver}\n")
    assert [(device.name, device.kind) for device in read_devices(tmp_path)] == [
        ("Arm Mali GPU", "render"),
        ("Rockchip NPU", "npu"),
    ]


@pytest.mark.parametrize(
    ("vendor", "product", "number"),
    [("1a6e", "089b", "4"), ("1a6e", "089a", ""), ("1a6e", "089a", "5"), ("", "", "4")],
    ids=["another device", "no number", "no device file", "no ids"],
)
def test_usb_devices_that_are_not_a_coral(
    tmp_path: Path, vendor: str, product: str, number: str
) -> None:
    folder = "sys/bus/usb/devices/1-1"
    with_file(tmp_path, f"{folder}/idVendor", vendor)
    with_file(tmp_path, f"{folder}/idProduct", product)
    with_file(tmp_path, f"{folder}/busnum", "1")
    with_file(tmp_path, f"{folder}/devnum", number)
    with_file(tmp_path, "dev/bus/usb/001/004")
    assert read_devices(tmp_path) == []


def test_gpu_files_are_those_of_cards_and_of_jetsons() -> None:
    def names(machine: str) -> set[str]:
        root = root_of(machine)
        return {str(file.relative_to(root / "dev")) for file in gpu_files(root)}

    assert names("debian-12-nvidia-535") == {
        *("nvidia0", "nvidiactl", "nvidia-uvm", "nvidia-modeset", "dri/renderD128"),
    }
    assert names("jetson-orin-nano") >= {"nvmap", "nvhost-gpu", "nvgpu/igpu0/ctrl", "nvidia0"}
    assert names("raspberry-pi-5-hailo") == {"dri/renderD128"}


def test_the_files_in_a_folder_are_listed_up_to_a_limit(tmp_path: Path) -> None:
    for number in range(MAX_FILES + 5):
        with_file(tmp_path, f"bus/usb/001/{number:03}")
    assert files_of(tmp_path / "bus/usb/001/003") == [tmp_path / "bus/usb/001/003"]
    assert len(files_of(tmp_path / "bus/usb")) == MAX_FILES
    assert files_of(tmp_path / "gone") == []


def test_nvml_does_not_need_files_that_are_only_for_root(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidiactl", "nvidia-caps/nvidia-cap1", "nvhost-sched-gpu", "nvmap"):
        with_file(tmp_path, f"dev/{name}")
    assert {file.name for file in nvml_files(tmp_path)} == {"nvidia0", "nvidiactl", "nvmap"}


def test_groups_of_device_files_but_not_roots(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can make device files")
    for name, group in (("hailo0", 4711), ("hailo1", 0), ("renderD128", 105)):
        subprocess.run(["mknod", tmp_path / name, "c", "1", "3"], check=True)
        os.chown(tmp_path / name, 0, group)
    assert groups_of([*files_of(tmp_path), tmp_path / "gone"]) == [105, 4711]
