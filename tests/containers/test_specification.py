from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infernet_edge.config.model import Container
from infernet_edge.config.secret_files import Secret
from infernet_edge.containers import specification
from infernet_edge.containers.specification import (
    device_groups,
    make_specification,
    node_name,
    publish,
)
from infernet_edge.errors import EngineError
from tests.support.examining import with_file

ALL = frozenset({"memory", "cpu", "pids"})


def make(**settings: Any) -> dict[str, Any]:
    container = Container(**{"id": "echo", "image": "an/image:1", **settings})
    return make_specification(container, "0123456789abcdef", "imageid", ALL, 5)


def fingerprint(made: dict[str, Any]) -> str:
    return str(made["labels"][specification.SPECIFICATION_LABEL])


def test_a_nodes_name_depends_on_where_its_data_is() -> None:
    assert node_name(Path("/a")) == node_name(Path("/a")) != node_name(Path("/b"))
    assert len(node_name(Path("relative"))) == 16


def test_name_and_labels_identify_the_node() -> None:
    made = make()
    assert made["name"] == "infernet-edge-echo-012345"
    assert made["labels"][specification.NODE_LABEL] == "0123456789abcdef"
    assert made["labels"][specification.CONTAINER_LABEL] == "echo"


def test_more_labels_of_the_node_do_not_replace_a_container() -> None:
    container = Container(id="echo", image="an/image:1")
    given = make_specification(
        container, "0123456789abcdef", "imageid", ALL, 5, node_labels={"more": "x"}
    )
    assert given["labels"] == {**make()["labels"], "more": "x"}


def test_the_command_is_split_as_a_shell_would() -> None:
    assert make(command="--bind=0.0.0.0:3000 --name 'a b'")["command"] == [
        "--bind=0.0.0.0:3000",
        "--name",
        "a b",
    ]
    assert make()["command"] == []


def test_a_command_with_an_open_quotation_is_refused() -> None:
    with pytest.raises(EngineError, match=r"container echo cannot be split: No closing quotation"):
        make(command="say 'hello")


def test_environment_values_become_text() -> None:
    assert make(env={"A": 1, "B": True, "C": 0.5, "D": "x y"})["env"] == {
        "A": "1",
        "B": "True",
        "C": "0.5",
        "D": "x y",
    }
    assert make(env={"TOKEN": Secret("top")})["env"] == {"TOKEN": "top"}


@pytest.mark.parametrize(
    ("volume", "source", "options"),
    [
        ("/a:/t", "/a", []),
        ("/a:/t:ro,z", "/a", ["ro", "z"]),
        ("/a:/t:", "/a", []),
        ("~/a:/t", str(Path("~/a").expanduser()), []),
        ("./a:/t", str(Path.cwd() / "a"), []),
        ("a/b:/t", str(Path.cwd() / "a/b"), []),
    ],
)
def test_folders_are_mounted_by_absolute_paths(
    volume: str, source: str, options: list[str]
) -> None:
    assert make(volumes=[volume])["mounts"] == [
        {"type": "bind", "source": source, "destination": "/t", "options": options}
    ]


def test_named_volumes_stay_names_and_a_source_may_be_mounted_twice() -> None:
    made = make(volumes=["models:/m:ro", "/a:/x", "/a:/y"])
    assert made["volumes"] == [{"Name": "models", "Dest": "/m", "Options": ["ro"]}]
    assert [mount["destination"] for mount in made["mounts"]] == ["/x", "/y"]


def test_limits() -> None:
    made = make(memory="1g", cpus=1.5, pids=9)["resource_limits"]
    assert made == {
        "memory": {"limit": 2**30},
        "cpu": {"period": 100_000, "quota": 150_000},
        "pids": {"limit": 9},
    }
    assert make(pids=0)["resource_limits"] == {}
    assert make(cpus=0.001)["resource_limits"]["cpu"]["quota"] == 1000


def test_limits_that_podman_cannot_apply_are_left_out() -> None:
    container = Container(id="echo", memory="1g", cpus=1.0, pids=0)
    made = make_specification(container, "node", "image", {"cpu"}, 5)
    assert list(made["resource_limits"]) == ["cpu"]
    assert specification.missing_limits(container, {"cpu"}) == ["memory"]


def test_gpus_are_given_by_cdi() -> None:
    made = make(gpu=True, devices=["/dev/dri", "/dev/a:/dev/b:r"])
    assert made["devices"] == [
        {"path": "/dev/dri"},
        {"path": "/dev/a:/dev/b:r"},
        {"path": "nvidia.com/gpu=all"},
    ]


@pytest.mark.parametrize(
    ("gpu", "names"),
    [
        (False, []),
        ("0", ["nvidia.com/gpu=0"]),
        ("0,2", ["nvidia.com/gpu=0", "nvidia.com/gpu=2"]),
        ("amd.com/gpu=all", ["amd.com/gpu=all"]),
    ],
)
def test_gpus_may_be_picked(gpu: bool | str, names: list[str]) -> None:
    assert make(gpu=gpu)["devices"] == [{"path": name} for name in names]


def with_groups(*groups: int, rootless: bool) -> dict[str, Any]:
    container = Container(id="echo", image="an/image:1")
    return make_specification(container, "node", "image", ALL, 5, groups, rootless=rootless)


def test_groups_of_devices_are_named_or_without_root_kept() -> None:
    assert with_groups(44, 105, rootless=False)["groups"] == ["44", "105"]
    kept = with_groups(44, rootless=True)
    assert kept["annotations"] == {"run.oci.keep_original_groups": "1"}
    assert "groups" not in kept
    for rootless in (False, True):
        assert not {"groups", "annotations"} & set(with_groups(rootless=rootless))
    assert fingerprint(with_groups(44, rootless=False)) != fingerprint(
        with_groups(45, rootless=False)
    )


def test_the_groups_of_configured_devices(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give files to other groups")
    for number, file in enumerate(("hailo0", "dri/card0", "dri/renderD128", "nvidia0", "other")):
        with_file(tmp_path, f"dev/{file}")
        os.chown(tmp_path / "dev" / file, 0, 101 + number)

    def groups(**settings: Any) -> list[int]:
        return device_groups(Container(id="a", **settings), tmp_path)

    assert groups(devices=["/dev/hailo0", "/dev/gone", "nvidia.com/gpu=0"]) == [101]
    assert groups(devices=["/dev/hailo0:/dev/x:rw", "/dev/dri"]) == [101, 102, 103]
    assert groups() == groups(gpu="0") == []


def test_the_groups_of_devices_by_cdi(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give files to other groups")
    lines = [
        "kind: nvidia.com/gpu",
        "containerEdits:",
        "  deviceNodes:",
        "  - path: /dev/nvidiactl",
    ]
    lines += ["  mounts:", "  - hostPath: /lib/x", "    containerPath: /lib/x", "devices:"]
    for number in (0, 1):
        lines += [f"- name: '{number}'", "  containerEdits:", "    deviceNodes:"]
        lines += [f"    - path: /dev/nvidia{number}"]
    with_file(tmp_path, "etc/cdi/nvidia.yaml", "\n".join(lines))
    for group, file in enumerate(("dev/nvidiactl", "dev/nvidia0", "dev/nvidia1", "lib/x"), 101):
        with_file(tmp_path, file)
        os.chown(tmp_path / file, 0, group)

    def groups(**settings: Any) -> list[int]:
        return device_groups(Container(id="a", **settings), tmp_path)

    assert groups(gpu="0") == [101, 102]
    assert groups(gpu="0,1") == [101, 102, 103]
    assert groups(devices=["nvidia.com/gpu=1"]) == [101, 103]
    assert groups(gpu=True) == []  # not described: Podman reports that


def test_the_port_is_published_on_loopback_only() -> None:
    assert publish(make(), 3999)["portmappings"] == [
        {"host_ip": "127.0.0.1", "host_port": 3999, "container_port": 3000, "protocol": "tcp"}
    ]
    assert "portmappings" not in make()


@pytest.mark.parametrize(
    "change",
    [
        {"env": {"A": "2"}},
        {"command": "x"},
        {"volumes": ["/a:/b"]},
        {"port": 3001},
        {"memory": 1},
        {"gpu": True},
        {"gpu": "0"},
        {"image": "an/image:2"},
    ],
)
def test_the_fingerprint_changes_with_relevant_settings(change: dict[str, Any]) -> None:
    assert fingerprint(make(env={"A": "1"})) == fingerprint(make(env={"A": "1"}))
    assert fingerprint(make(env={"A": "1"})) != fingerprint(make(**{"env": {"A": "1"}, **change}))


def test_the_fingerprint_does_not_change_with_other_settings() -> None:
    assert fingerprint(make()) == fingerprint(make(description="new", timeout=1.0, models=["a/b"]))
    env = {"A": "1", "B": "2"}
    assert fingerprint(make(env=env)) == fingerprint(make(env=dict(reversed(env.items()))))


def test_a_new_image_behind_the_name_changes_the_fingerprint() -> None:
    container = Container(id="echo", image="an/image:1")
    old, new = (make_specification(container, "node", image, ALL, 5) for image in ("1", "2"))
    assert fingerprint(old) != fingerprint(new)


def test_it_is_plain_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(make(memory="1m"))) == make(memory="1m")


def test_variables_of_a_file_come_after_those_of_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "service.env"
    file.write_text("A=file\nTOKEN=top secret\n")
    made = make(env_file=str(file), env={"A": "env"})
    assert made["env"] == {"A": "env", "TOKEN": "top secret"}
    file.write_text("A=file\nTOKEN=other\n")
    assert fingerprint(make(env_file=str(file), env={"A": "env"})) != fingerprint(made)


@pytest.mark.parametrize("content", [None, "TOKEN secret\n"])
def test_a_file_of_variables_that_cannot_be_used(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "service.env"
    if content is not None:
        file.write_text(content)
    with pytest.raises(EngineError, match=r"containers\[\]\.env_file of echo, .*: ") as failed:
        make(env_file=str(file))
    assert "secret" not in str(failed.value)


def test_shared_memory() -> None:
    assert make(shm_size="1g")["shm_size"] == 2**30
    assert "shm_size" not in make()
