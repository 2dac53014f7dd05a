"""Manifests: Kubernetes' schema, and Podman, which runs them."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import requests
import yaml

from infernet_edge.export.kube import Manifest, manifests, secret_template
from infernet_edge.export.yaml import to_yaml
from tests.export.exported import SECRETS, plan, rich
from tests.support.executable import Executable, debian_archive
from tests.support.podman import ECHO_IMAGE, IsolatedPodman
from tests.support.ports import free_port

VERSIONS: Final = ("1.25", "1.30", kubernetes_validate.latest_version())


def of_kind(found: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in found if each["kind"] == kind}


def pod(deployment: Manifest) -> dict[str, Any]:
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_accepts_all_objects(tmp_path: Path, version: str) -> None:
    for document in (rich(tmp_path), {}, {"server": {"host": "127.0.0.1"}}):
        made = plan(document)
        template = secret_template(made)
        for each in [*manifests(made)[0], *([template] if template else [])]:
            read = yaml.safe_load(to_yaml(each))
            assert read == each
            kubernetes_validate.validate(read, version, strict=True)


def test_a_wrong_object_is_found(tmp_path: Path) -> None:
    """The schema does refuse something."""
    wrong = of_kind(manifests(plan(rich(tmp_path)))[0], "Deployment")["infernet-edge"]
    pod(wrong)["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_services_with_a_port_of_their_own_are_in_the_pod(tmp_path: Path) -> None:
    found, notes = manifests(plan(rich(tmp_path)))
    deployments = of_kind(found, "Deployment")
    names = [each["name"] for each in pod(deployments["infernet-edge"])["containers"]]
    assert names == ["node", "echo-1", "third"]
    assert sorted(deployments) == ["echo-1-2", "infernet-edge"]
    assert sorted(of_kind(found, "Service")) == ["echo-1-2", "infernet-edge"]
    text = of_kind(found, "ConfigMap")["infernet-edge-config"]["data"]["config.json"]
    for url in ("http://127.0.0.1:3000", "http://echo-1-2:3000", "http://127.0.0.1:8000"):
        assert f'"{url}"' in text
    assert any("echo-1 has a Deployment of its own" in note for note in notes)


def test_limits_volumes_and_commands(tmp_path: Path) -> None:
    found, notes = manifests(plan(rich(tmp_path)))
    service = pod(of_kind(found, "Deployment")["infernet-edge"])["containers"][1]
    assert service["args"] == ["--port", "3000", "a b", "100%", "$HOME"]
    assert service["resources"]["limits"] == {
        "memory": str(512 * 2**20),
        "cpu": "500m",
        "nvidia.com/gpu": 2,
    }
    assert [(each["mountPath"], each.get("readOnly")) for each in service["volumeMounts"]] == [
        ("/models", True),
        ("/here", None),
        ("/data", None),
    ]
    claims = of_kind(found, "PersistentVolumeClaim")
    assert sorted(claims) == ["infernet-edge-state", "models", "my-data"]
    said = "\n".join(notes)
    for part in ("podPidsLimit", "/dev/dri need a device plugin", "gpu = true", str(tmp_path)):
        assert part in said


def test_no_secret_is_in_the_objects(tmp_path: Path) -> None:
    made = plan(rich(tmp_path))
    found, notes = manifests(made)
    text = "".join(map(to_yaml, found)) + str(notes) + str(secret_template(made))
    assert [secret for secret in SECRETS if secret in text] == []
    assert "KEY" not in text.replace("KEY_", "")


def test_who_may_reach_the_api_stays_as_it_was() -> None:
    def published(server: dict[str, Any]) -> dict[str, Any]:
        found = manifests(plan({"server": server}))[0]
        node = pod(of_kind(found, "Deployment")["infernet-edge"])["containers"][0]
        ports: dict[str, Any] = node["ports"][0]
        return ports

    assert published({})["hostPort"] == 4000
    assert "hostIP" not in published({})
    assert published({"host": "127.0.0.1", "port": 5000}) == {
        "containerPort": 5000,
        "hostPort": 5000,
        "name": "api",
        "hostIP": "127.0.0.1",
    }


@pytest.fixture(scope="module")
def own_podman() -> Iterator[IsolatedPodman]:
    with IsolatedPodman() as started:
        yield started


def node_image(podman: IsolatedPodman, executable: Executable) -> str:
    """An image with a C library and the executable."""
    name = "localhost/infernet-edge:test"
    with tempfile.TemporaryFile() as file:
        with debian_archive().open("rb") as source:
            shutil.copyfileobj(source, file)
        file.seek(0)
        with tarfile.open(fileobj=file, mode="a") as archive:
            archive.add(executable.file, "usr/bin/infernet-edge")
        file.seek(0)
        podman.run("import", "-", name, stdin=file, changes=["ENV PATH=/usr/bin:/bin"])
    return name


def test_podman_runs_the_objects_and_the_node_serves_a_job(
    own_podman: IsolatedPodman, executable: Executable, tmp_path: Path
) -> None:
    port = free_port()
    document = {
        "server": {"host": "127.0.0.1", "port": port},
        "containers": [
            {"id": "echo", "image": ECHO_IMAGE, "pull": "never", "env": {"SIZE": 3}},
            {"id": "other", "image": ECHO_IMAGE, "command": "--port 3001", "container_port": 3001},
        ],
    }
    made = plan(document)._replace(image=node_image(own_podman, executable))
    objects, _ = manifests(made)
    file = tmp_path / "node.yaml"
    file.write_text("---\n".join(map(to_yaml, objects)))
    own_podman.run("kube", "play", str(file))
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while True:
        try:
            info = requests.get(f"{url}/info", timeout=5).json()
            if len(info["containers"]) == 2:
                break
        except requests.ConnectionError:
            pass
        assert time.monotonic() < deadline, own_podman.run("ps", "--all")
        time.sleep(0.2)
    body: Any = {"containers": ["echo", "other"], "data": {"text": "hello"}}
    ended = requests.post(f"{url}/api/jobs?wait=30", json=body, timeout=60).json()
    assert ended["status"] == "success", ended
    published = own_podman.run("ps", "--format", "{{.Ports}}").split()
    assert set(published) == {f"127.0.0.1:{port}->{port}/tcp"}  # no service is for the network
    own_podman.run("kube", "down", str(file))
