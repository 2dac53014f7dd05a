from __future__ import annotations

import os
from pathlib import Path

import pytest

from infernet_edge.doctor import devices
from infernet_edge.doctor.finding import Finding
from tests.support.examining import finding, with_file
from tests.support.running import configuration

_UNITS = "etc/systemd/system"
_CDI = '{"kind": "hailo.ai/npu", "devices": [{"name": "0"}]}'


async def check(folder: Path, *names: str) -> Finding:
    container = {"id": "vision", "image": "localhost/vision", "devices": list(names)}
    document = {"manage_containers": True, "containers": [container]}
    return await finding(devices, configuration(folder, document), root=folder)


def rootless(folder: Path, mode: int, group: int) -> Path:
    """A machine with a Hailo that is installed with a Podman without root."""
    if os.getuid() != 0:
        pytest.skip("only root can give files to others")
    with_file(folder, "dev/hailo0")
    os.chown(folder / "dev/hailo0", 0, group)
    (folder / "dev/hailo0").chmod(mode)
    service = "[Service]\nUser=infernet-edge\n"
    with_file(folder, f"{_UNITS}/infernet-edge.service", service)
    with_file(folder, f"{_UNITS}/infernet-edge-podman.service", "[Service]\nType=exec\n")
    with_file(folder, f"{_UNITS}/infernet-edge-podman.service.d/rootless.conf", service)
    with_file(folder, "etc/passwd", "infernet-edge:x:998:997::/:/bin/false\n")
    return with_file(folder, "etc/group", "video:x:44:\ninfernet-edge:x:997:\n")


async def test_nothing_is_passed_in(tmp_path: Path) -> None:
    assert (await check(tmp_path)).text.startswith("not needed")


@pytest.mark.parametrize("name", ["/dev/hailo0", "/dev/hailo0:/dev/npu:rw", "/dev/bus/usb"])
async def test_a_device_that_does_not_exist(tmp_path: Path, name: str) -> None:
    path = name.partition(":")[0]
    with_file(tmp_path, "dev/hailo1")
    with_file(tmp_path, "dev/dri/card0")
    found = await check(tmp_path, "/dev/dri", name)
    assert found.level == "problem"
    assert found.text == (
        f"vision cannot start: {path} does not exist; this machine has /dev/hailo1"
    )
    with_file(tmp_path, "dev/hailo0")
    with_file(tmp_path, "dev/bus/usb/001/002")
    assert await check(tmp_path, name) == Finding("ok", f"{path} can be passed in")


async def test_an_empty_folder_has_no_device(tmp_path: Path) -> None:
    (tmp_path / "dev/dri").mkdir(parents=True)
    assert (await check(tmp_path, "/dev/dri")).text.startswith("vision cannot start: /dev/dri does")


async def test_a_device_by_cdi(tmp_path: Path) -> None:
    found = await check(tmp_path, "hailo.ai/npu=0")
    assert found.level == "problem"
    assert "no CDI specification of hailo.ai/npu" in found.text
    with_file(tmp_path, "etc/cdi/hailo.json", _CDI)
    found = await check(tmp_path, "hailo.ai/npu=0")
    assert found == Finding("ok", "/etc/cdi/hailo.json describes the devices for vision")
    found = await check(tmp_path, "hailo.ai/npu=1")
    assert "hailo.ai/npu=1 is not described; of hailo.ai/npu there are 0" in found.text


async def test_a_podman_without_root_has_to_open_it(tmp_path: Path) -> None:
    root = rootless(tmp_path, 0o660, 44)
    found = await check(root, "/dev/hailo0")
    assert found.level == "problem"
    assert found.text == (
        "vision cannot use /dev/hailo0: Podman runs as the service's user infernet-edge, who may"
        " not open /dev/hailo0 (group video, mode 0660)"
    )
    assert found.command.endswith("service install")
    (root / f"{_UNITS}/infernet-edge-podman.service.d/rootless.conf").unlink()
    assert (await check(root, "/dev/hailo0")).level == "ok"  # Podman is root


@pytest.mark.parametrize(("mode", "group"), [(0o666, 0), (0o660, 997)])
async def test_a_podman_without_root_may_open_it(tmp_path: Path, mode: int, group: int) -> None:
    assert (await check(rootless(tmp_path, mode, group), "/dev/hailo0")).level == "ok"


async def test_a_device_that_is_for_root_alone(tmp_path: Path) -> None:
    found = await check(rootless(tmp_path, 0o600, 0), "/dev/hailo0")
    assert found.level == "problem"
    assert 'KERNEL=="hailo0", GROUP="video", MODE="0660"' in found.remedy


async def test_one_device_of_a_folder_is_enough(tmp_path: Path) -> None:
    root = rootless(tmp_path, 0o666, 0)
    for name, mode in (("card0", 0o600), ("renderD128", 0o666)):
        with_file(root, f"dev/dri/{name}")
        (root / "dev/dri" / name).chmod(mode)
    assert (await check(root, "/dev/dri")).level == "ok"
    (root / "dev/dri/renderD128").unlink()
    assert (await check(root, "/dev/dri")).level == "problem"
