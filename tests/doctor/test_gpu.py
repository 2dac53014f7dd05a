from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.doctor import commands, gpu
from infernet_edge.doctor.finding import Finding
from tests.support.examining import finding, with_file
from tests.support.machines import root_of
from tests.support.running import configuration

# As `nvidia-ctk cdi generate` writes them, shortened.
_YAML = """\
---
cdiVersion: 0.5.0
containerEdits:
  mounts:
  - containerPath: /usr/lib/libcuda.so.535.104
    hostPath: /usr/lib/libcuda.so.535.104
    options: [ro, nosuid, nodev, bind]
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: "0"
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: all
kind: nvidia.com/gpu
"""
_JSON = """{"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "containerEdits": {"mounts": [
{"hostPath": "/usr/lib/libcuda.so.535.104", "containerPath": "/usr/lib/libcuda.so.535.104"}]},
"devices": [{"name": "all", "containerEdits": {}}]}"""
_OTHER = "cdiVersion: 0.5.0\nkind: example.com/npu\n# not nvidia.com/gpu\n"
_LIBRARY = "usr/lib/libcuda.so.535.104"

# What the service's units and accounts are, as far as the doctor reads them.
_UNIT = "etc/systemd/system/infernet-edge.service"
_PODMAN = "etc/systemd/system/infernet-edge-podman.service"
_SERVICE = "[Service]\nUser=infernet-edge\nGroup=infernet-edge\n"
_SERVICE_IN_VIDEO = _SERVICE + "SupplementaryGroups=video\n"
_PASSWD = "root:x:0:0:root:/root:/bin/sh\ninfernet-edge:x:998:997::/:/bin/false\n"
_GROUP = "root:x:0:\nvideo:x:44:\ninfernet-edge:x:997:\n"


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are those of root."""
    monkeypatch.setattr("infernet_edge.doctor.commands.as_root", commands.line)


async def check(folder: Path, *, gpu_wanted: Any = True) -> Finding:
    container = {"id": "llm", "image": "localhost/llm", "gpu": gpu_wanted}
    document = {"manage_containers": True, "containers": [container]}
    return await finding(gpu, configuration(folder, document), root=folder)


def machine(folder: Path, mode: int = 0o660, group: int = 44, *, podman: str = "") -> Path:
    """A PC with a GPU and the installed service, whose Podman has these lines in its unit."""
    if os.getuid() != 0:
        pytest.skip("only root can give files to others")
    shutil.copytree(root_of("debian-12-nvidia-535"), folder, dirs_exist_ok=True)
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm", "nvidia-modeset"):
        os.chown(folder / "dev" / name, 0, group)
        (folder / "dev" / name).chmod(mode)
    for path, text in (
        (_UNIT, _SERVICE),
        (_PODMAN, f"[Service]\nType=exec\n{podman}"),
        ("etc/passwd", _PASSWD),
        ("etc/group", _GROUP),
        ("etc/cdi/nvidia.yaml", _YAML),
        (_LIBRARY, ""),
    ):
        with_file(folder, path, text)
    return folder


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("etc/cdi/nvidia.yaml", _YAML),
        ("var/run/cdi/nvidia.yaml", _YAML),
        ("run/cdi/nvidia.json", _JSON),
        ("etc/cdi/nvidia.yaml", _JSON),
    ],
)
async def test_a_specification_is_there(tmp_path: Path, path: str, text: str) -> None:
    with_file(tmp_path, path, text)
    with_file(tmp_path, "etc/cdi/a.yaml", _OTHER)
    outdated = await check(tmp_path)
    assert outdated.level == "warning"
    assert "/usr/lib/libcuda.so.535.104 does not exist" in outdated.text
    assert outdated.command == f"nvidia-ctk cdi generate --output=/{path}"
    with_file(tmp_path, _LIBRARY)
    assert await check(tmp_path) == Finding("ok", f"/{path} describes the GPUs for llm")


@pytest.mark.parametrize("runtime", ["var/run/cdi", "run/cdi"])
async def test_the_file_of_this_boot_counts_instead_of_a_stale_one(
    tmp_path: Path, runtime: str
) -> None:
    with_file(tmp_path, "etc/cdi/nvidia.yaml", _YAML)
    with_file(tmp_path, f"{runtime}/nvidia.yaml", _YAML.replace("535.104", "550.54"))
    with_file(tmp_path, "usr/lib/libcuda.so.550.54")
    assert (await check(tmp_path)).text == f"/{runtime}/nvidia.yaml describes the GPUs for llm"
    # The other way round it is the one of this boot that is out of date.
    (tmp_path / "usr/lib/libcuda.so.550.54").unlink()
    with_file(tmp_path, _LIBRARY)
    assert (await check(tmp_path)).text.startswith(f"/{runtime}/nvidia.yaml is out of date")


async def test_a_device_that_is_only_in_the_other_folder(tmp_path: Path) -> None:
    with_file(tmp_path, "etc/cdi/nvidia.yaml", _YAML)
    with_file(tmp_path, _LIBRARY)
    with_file(tmp_path, "var/run/cdi/mig.json", _JSON.replace('"all"', '"0:1"'))
    found = await check(tmp_path, gpu_wanted="0, 0:1")
    assert found.text == (
        "/etc/cdi/nvidia.yaml and /var/run/cdi/mig.json describe the GPUs for llm"
    )


@pytest.mark.parametrize("name", ["all", "0", "nvidia.com/gpu=0", True])
async def test_names_that_are_described(tmp_path: Path, name: Any) -> None:
    with_file(tmp_path, "etc/cdi/nvidia.yaml", _YAML)
    with_file(tmp_path, _LIBRARY)
    assert (await check(tmp_path, gpu_wanted=name)).level == "ok"


@pytest.mark.parametrize("name", ["1", "0,1", "GPU-1"])
async def test_a_name_that_is_not_described(tmp_path: Path, name: str) -> None:
    with_file(tmp_path, "etc/cdi/nvidia.yaml", _YAML)
    with_file(tmp_path, _LIBRARY)
    found = await check(tmp_path, gpu_wanted=name)
    assert found.level == "problem"
    assert f"nvidia.com/gpu={name.rpartition(',')[2]} is not described" in found.text
    assert "there are 0, all" in found.text


async def test_two_files_of_one_folder_are_a_conflict(tmp_path: Path) -> None:
    for path in ("etc/cdi/a.yaml", "etc/cdi/b.yaml", "var/run/cdi/c.yaml"):
        with_file(tmp_path, path, _YAML)
    with_file(tmp_path, _LIBRARY)
    found = await check(tmp_path)
    assert found.level == "problem"
    assert "described twice, in /etc/cdi/a.yaml and /etc/cdi/b.yaml" in found.text


async def test_there_is_none(tmp_path: Path) -> None:
    with_file(tmp_path, "etc/cdi/a.yaml", _OTHER)
    with_file(tmp_path, "etc/cdi/nvidia.yaml.old", _YAML)
    found = await check(tmp_path)
    assert found.level == "problem"
    assert found.text.startswith("llm cannot start")
    assert found.command.startswith("nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml")


@pytest.mark.parametrize(
    ("file", "text", "why"),
    [
        ("nvidia.yml", _YAML, "its name must end with .yaml or .json"),
        ("nvidia.yaml", "kind: &a nvidia.com/gpu\n", "it cannot be parsed, line 1"),
        ("nvidia.yaml", "a: b\n", "it has no kind"),
        ("nvidia.json", "", "it has no kind"),
    ],
)
async def test_a_file_that_is_not_read_is_named(
    tmp_path: Path, file: str, text: str, why: str
) -> None:
    with_file(tmp_path, f"etc/cdi/{file}", text)
    found = await check(tmp_path)
    assert found.level == "problem"
    assert found.text.endswith(f"/etc/cdi/{file} is not read: {why}")
    assert found.command == "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"


async def test_no_container_has_a_gpu(tmp_path: Path) -> None:
    assert (await check(tmp_path, gpu_wanted=False)).text.startswith("not needed")


async def test_a_device_node_that_is_gone(tmp_path: Path) -> None:
    root = machine(tmp_path, 0o666)
    assert (await check(root)).level == "ok"
    (root / "dev/nvidia0").unlink()
    found = await check(root)
    assert found.level == "warning"
    assert "/dev/nvidia0 does not exist" in found.text


@pytest.mark.parametrize(
    ("mode", "group", "unit", "level"),
    [
        (0o660, 44, _SERVICE, "warning"),
        (0o660, 44, _SERVICE_IN_VIDEO, "ok"),
        (0o640, 44, _SERVICE_IN_VIDEO, "warning"),
        (0o666, 44, _SERVICE, "ok"),
        (0o606, 44, _SERVICE_IN_VIDEO, "warning"),
        (0o660, 997, _SERVICE, "ok"),
        (0o600, 0, _SERVICE_IN_VIDEO, "warning"),
        (0o600, 0, "[Service]\nUser=root\n", "ok"),
        (0o600, 0, "[Service]\n", "ok"),
    ],
)
async def test_whether_the_service_may_open_the_gpus_not_who_asks(
    tmp_path: Path, mode: int, group: int, unit: str, level: str
) -> None:
    root = with_file(machine(tmp_path, mode, group), _UNIT, unit)
    found = await check(root, gpu_wanted=True)  # root asks here, who may open them all
    assert found.level == level
    if level == "warning":
        assert "the service's user infernet-edge, who may not open /dev/nvidiactl" in found.text
    else:
        user = "root" if "infernet-edge" not in unit else "infernet-edge"
        assert found.text.endswith(f"; the service's user {user} may open the GPUs")
    assert (await check(root, gpu_wanted=False)).level == level


async def test_a_drop_in_and_the_users_groups_count(tmp_path: Path) -> None:
    root = machine(tmp_path)
    found = await check(root)
    assert found.text == (
        "the node cannot read the GPUs for /resources: it runs as the service's user infernet-edge,"
        " who may not open /dev/nvidiactl (group video, mode 0660)"
    )
    assert found.command.endswith("service install")
    with_file(root, f"{_UNIT}.d/access.conf", "[Service]\nSupplementaryGroups=render video\n")
    assert (await check(root)).level == "ok"
    with_file(root, f"{_UNIT}.d/zz.conf", "[Service]\nSupplementaryGroups=\n")
    assert (await check(root)).level == "warning"
    with_file(root, "etc/group", _GROUP.replace("video:x:44:", "video:x:44:pi,infernet-edge"))
    assert (await check(root)).level == "ok"


async def test_without_root_podman_has_to_open_them(tmp_path: Path) -> None:
    root = machine(tmp_path, podman=_SERVICE)
    with_file(root, _UNIT, _SERVICE_IN_VIDEO)
    found = await check(root)
    assert found.level == "problem"
    assert found.text.startswith("llm cannot use a GPU: Podman runs as the service's user")
    assert found.command.endswith("service install")
    with_file(root, f"{_PODMAN}.d/groups.conf", "[Service]\nSupplementaryGroups=video\n")
    assert (await check(root)).level == "ok"


async def test_without_the_service_it_is_about_who_runs_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = machine(tmp_path)
    (root / _UNIT).unlink()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "getgroups", lambda: [1000])
    found = await check(root)
    assert found.level == "problem"
    assert found.command.startswith("usermod --append --groups video ")
    monkeypatch.setattr(os, "getgroups", lambda: [1000, 44])
    assert (await check(root)).level == "ok"
    monkeypatch.setattr(os, "getgroups", lambda: [1000])
    monkeypatch.setattr(os, "access", lambda *_: True)  # by an access control list
    assert (await check(root)).level == "ok"
