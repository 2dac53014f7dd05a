from __future__ import annotations

import json
import os
import shutil
from fnmatch import fnmatch
from pathlib import Path

import pytest

from infernet_edge.installer.drop_in import drop_in, podman_drop_in
from infernet_edge.installer.paths import Paths
from tests.support.examining import with_file
from tests.support.machines import FOLDER, root_of

UNIT = Path(__file__).parents[2] / "systemd/infernet-edge.service"


def lines(root: Path, key: str) -> list[str]:
    found = (line.partition("=") for line in drop_in(Paths(root)).splitlines())
    return [value for name, _, value in found if name == key]


def majors(machine: str) -> list[str]:
    """The names of character devices in a machine's /proc/devices."""
    text = (root_of(machine) / "proc/devices").read_text().partition("\n\n")[0]
    return [line.split()[1] for line in text.splitlines()[1:]]


def allowed(major: str) -> bool:
    """Whether the unit allows a major, by the globs of DeviceAllow= (systemd.resource-control)."""
    rules = [
        line.removeprefix("DeviceAllow=char-").removesuffix(" rw")
        for line in UNIT.read_text().splitlines()
        if line.startswith("DeviceAllow=char-")
    ]
    return any(fnmatch(major, rule) for rule in rules)


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("root:x:0:\nvideo:x:44:pi\nrender:x:104:\n", ["video render"]),
        ("root:x:0:\nvideo:x:44:\n", ["video"]),
        ("root:x:0:\nrender:x:104:\nbroken\nvideo\n", ["render"]),
        ("root:x:0:\nvideos:x:44:\n", []),
        ("", []),
    ],
)
def test_groups_of_gpus_as_far_as_they_exist(
    tmp_path: Path, group: str, expected: list[str]
) -> None:
    with_file(tmp_path, "etc/group", group)
    assert lines(tmp_path, "SupplementaryGroups") == expected


def test_without_groups_credentials_and_folders_there_is_no_drop_in(tmp_path: Path) -> None:
    assert drop_in(Paths(tmp_path)) == ""


def test_relative_paths_are_below_the_state_folder(tmp_path: Path) -> None:
    """Most configurations of the reference node have `"log_path": "infernet_node.log"`."""
    document = {"log_path": "infernet_node.log", "storage": {"path": "../data"}}
    with_file(tmp_path, "etc/infernet-edge/config.json", json.dumps(document))
    assert drop_in(Paths(tmp_path)) == ""
    document = {"log_path": "/srv/logs/node.log", "storage": {"path": "data"}}
    with_file(tmp_path, "etc/infernet-edge/config.json", json.dumps(document))
    assert lines(tmp_path, "ReadWritePaths") == ["-/srv/logs"]
    document = {"backup": {"path": "/mnt/usb/backups"}, "storage": {"path": "data"}}
    with_file(tmp_path, "etc/infernet-edge/config.json", json.dumps(document))
    assert lines(tmp_path, "ReadWritePaths") == ["-/mnt/usb/backups"]


def test_another_group_that_owns_a_gpu_counts_too(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give files to other groups")
    for name, group in (("nvidia0", 4711), ("nvidiactl", 4712), ("null", 4713)):
        with_file(tmp_path, f"dev/{name}")
        os.chown(tmp_path / "dev" / name, 0, group)
    with_file(tmp_path, "etc/group", "video:x:44:\nvglusers:x:4711:\nother:x:4713:\n")
    assert lines(tmp_path, "SupplementaryGroups") == ["video vglusers"]


def test_a_podman_without_root_is_in_the_groups_of_configured_devices(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give files to other groups")
    assert podman_drop_in(Paths(tmp_path)) == ""
    for number, name in enumerate(("hailo0", "ttyUSB0", "dri/card0"), 4711):
        with_file(tmp_path, f"dev/{name}")
        os.chown(tmp_path / "dev" / name, 0, number)
    with_file(tmp_path, "etc/group", "video:x:44:\nnpu:x:4711:\ndialout:x:4712:\nx:x:4713:\n")
    container = {
        "id": "a",
        "image": "b",
        "devices": ["/dev/hailo0:/dev/npu", "/dev/dri", "a.b/c=d"],
    }
    with_file(tmp_path, "etc/infernet-edge/config.json", json.dumps({"containers": [container]}))
    assert podman_drop_in(Paths(tmp_path)).splitlines()[1:] == [
        "[Service]",
        "SupplementaryGroups=video npu x",
    ]


def test_a_jetsons_files_are_allowed(tmp_path: Path) -> None:
    shutil.copytree(root_of("jetson-orin-nano"), tmp_path, dirs_exist_ok=True)
    with_file(tmp_path, "dev/nvhost-odd name")
    devices = lines(tmp_path, "DeviceAllow")
    assert {"/dev/nvmap rw", "/dev/nvgpu/igpu0/ctrl rw", "/dev/dri/renderD128 rw"} <= set(devices)
    assert not any("odd" in device for device in devices)
    assert lines(tmp_path, "SupplementaryGroups") == ["video render"]


def test_a_pcs_render_node_is_not(tmp_path: Path) -> None:
    shutil.copytree(root_of("debian-12-nvidia-535"), tmp_path, dirs_exist_ok=True)
    assert lines(tmp_path, "DeviceAllow") == []


@pytest.mark.parametrize(
    "machine", [file.parents[1].name for file in FOLDER.glob("*/proc/devices")]
)
def test_the_unit_allows_gpus_and_nothing_else(machine: str) -> None:
    let_in = {major for major in majors(machine) if allowed(major)}
    assert let_in == {
        major
        for major in majors(machine)
        if major.startswith(("nvidia", "nvgpu", "nvhost", "host1x", "17000000."))
    }


@pytest.mark.parametrize(
    "major",
    [
        *("nvidia", "nvidia-frontend", "nvidiactl", "nvidia-uvm", "nvidia-caps", "nvgpu", "nvmap"),
        *("nvhost", "57000000.gpu", "17000000.gp10b", "17000000.gv11b", "17000000.ga10b"),
    ],
)
def test_the_unit_allows_every_drivers_majors(major: str) -> None:
    assert allowed(major)
