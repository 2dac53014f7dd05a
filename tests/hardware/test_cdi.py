from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infernet_edge.hardware.cdi import read
from tests.support.examining import with_file


def specification(*names: str, kind: str = "a.com/b", **edits: Any) -> str:
    devices = [{"name": name} for name in names]
    return json.dumps({"kind": kind, "devices": devices, "containerEdits": edits})


def test_devices_have_the_paths_of_all_and_their_own(tmp_path: Path) -> None:
    with_file(
        tmp_path,
        "etc/cdi/a.yaml",
        "kind: a.com/b\n"
        "containerEdits:\n  mounts:\n  - hostPath: /lib/x\n    containerPath: /y\n"
        "devices:\n- name: one\n  containerEdits:\n    deviceNodes:\n    - path: /dev/one\n"
        "    - path: /dev/in\n      hostPath: /dev/out\n- name: two\n",
    )
    found = read(tmp_path).devices
    assert {name: device.paths for name, device in found.items()} == {
        "a.com/b=one": ("/lib/x", "/dev/one", "/dev/out"),
        "a.com/b=two": ("/lib/x",),
    }


def test_var_run_links_to_run(tmp_path: Path) -> None:
    with_file(tmp_path, "run/cdi/a.json", specification("x"))
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("../run")
    described = read(tmp_path)
    assert list(described.devices) == ["a.com/b=x"]
    assert not described.conflicts


def test_kinds_do_not_conflict_and_a_broken_file_hides_no_other(tmp_path: Path) -> None:
    with_file(tmp_path, "etc/cdi/a.json", specification("x"))
    with_file(tmp_path, "etc/cdi/b.json", specification("x", kind="a.com/c"))
    with_file(tmp_path, "etc/cdi/c.json", "{")
    (tmp_path / "etc/cdi/d.json").write_bytes(b"\xff")
    (tmp_path / "etc/cdi/e.json").mkdir()
    with_file(tmp_path, "etc/cdi/f.json", "[" * 100_000)
    described = read(tmp_path)
    assert set(described.devices) == {"a.com/b=x", "a.com/c=x"}
    assert {file.name for file in described.unread} == {"c.json", "d.json", "e.json", "f.json"}


def test_invalid_values_are_not_devices(tmp_path: Path) -> None:
    for number, devices in enumerate(('"x"', '["x", 1, {}, {"name": ""}]', '{"name": "x"}')):
        with_file(tmp_path, f"etc/cdi/{number}.json", f'{{"kind": "a/b", "devices": {devices}}}')
    with_file(
        tmp_path,
        "etc/cdi/edits.json",
        '{"kind": "a/b", "devices": [{"name": "x", "containerEdits": {"mounts": [1, {}, '
        '{"hostPath": 1}, {"hostPath": "tmpfs"}], "deviceNodes": "x"}}], "containerEdits": []}',
    )
    assert {name: device.paths for name, device in read(tmp_path).devices.items()} == {"a/b=x": ()}
