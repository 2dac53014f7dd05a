"""Podman's API as the node uses it, against real Podman."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.config.model import Container
from infernet_edge.config.model import Registry as Login
from infernet_edge.config.secret_files import Secret
from infernet_edge.containers.blocking import EngineUnreachable
from infernet_edge.containers.images import progress
from infernet_edge.containers.images.progress import PullProgress
from infernet_edge.containers.podman import Engine
from infernet_edge.containers.specification import make_specification, publish
from infernet_edge.errors import EngineError
from tests.support.podman import IsolatedPodman, Registry, need
from tests.support.ports import free_port

NODE = "0123456789abcdef"


@pytest.fixture
def engine(podman: IsolatedPodman) -> Engine:
    return Engine(podman.url, Login())


@pytest.fixture(scope="module")
def registry(
    session_podman: IsolatedPodman, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """A registry that has the image team/echo:1."""
    need("docker-registry")
    with Registry(tmp_path_factory.mktemp("registry")) as registry:
        session_podman.allow_insecure_registry(registry.port)
        image = session_podman.echo_image(f"{registry.address}/team/echo:1")
        login = f"--creds={registry.username}:{registry.password}"
        session_podman.run("push", "--tls-verify=false", login, image)
        yield registry


def logged_in(podman: IsolatedPodman, registry: str, password: str = Registry.password) -> Engine:
    login = Login(registry=registry, username=Registry.username, password=Secret(password))
    return Engine(podman.url, login)


def pull(engine: Engine, image: str) -> str:
    return engine.pull(image, lambda text: None, threading.Event()).id


def specified(engine: Engine, image: str, **settings: Any) -> dict[str, Any]:
    container = Container(**{"id": "echo", "image": image, **settings})
    found = engine.find_image(image)
    assert found is not None
    made = make_specification(container, NODE, found, engine.info().limits, 1)
    return publish(made, free_port())


def test_the_modules_that_others_import_do_not_load_podman_py() -> None:
    code = (
        "import sys, infernet_edge.containers.manager;"
        "sys.exit(any(name in sys.modules for name in ('podman', 'requests', 'urllib3')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_information(engine: Engine) -> None:
    assert int(engine.info().version.split(".")[0]) >= 4
    assert engine.info().limits <= {
        *("cpu", "cpuacct", "cpuset", "memory", "pids", "io", "blkio", "devices", "freezer"),
        *("hugetlb", "perf_event", "net_cls", "net_prio", "rdma", "misc"),
    }


@pytest.mark.parametrize(
    ("rootless", "version", "limits"),
    [(False, "v1", {"memory", "pids"}), (True, "v1", set()), (True, "v2", {"memory", "pids"})],
)
def test_without_root_there_are_no_limits_on_old_cgroups(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, rootless: bool, version: str, limits: set[str]
) -> None:
    import podman

    answer = {
        "version": {"Version": "4.3.1"},
        "host": {
            "cgroupControllers": ["memory", "pids"],
            "cgroupVersion": version,
            "security": {"rootless": rootless},
            "ociRuntime": {"name": "crun"},
        },
    }
    monkeypatch.setattr(podman.PodmanClient, "info", lambda self: answer)
    info = engine.info()
    assert info.limits == limits
    assert (info.rootless, info.runtime) == (rootless, "crun")


def test_nothing_listens(tmp_path: Path) -> None:
    engine = Engine(f"unix://{tmp_path}/absent.sock", Login())
    with pytest.raises(EngineUnreachable, match=r"absent\.sock.*No such file"):
        engine.info()
    engine = Engine(f"tcp://127.0.0.1:{free_port()}", Login())
    with pytest.raises(EngineUnreachable, match="refused"):
        engine.containers(NODE)


def test_something_else_listens(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    import podman

    monkeypatch.setattr(podman.PodmanClient, "info", lambda self: {"ID": "docker"})
    with pytest.raises(EngineError, match="unexpected answer"):
        engine.info()


def test_images_are_found_by_name(podman: IsolatedPodman, engine: Engine) -> None:
    image = podman.echo_image()
    found = engine.find_image(image)
    assert found == podman.run("image", "inspect", "--format", "{{.Id}}", image)
    assert engine.find_image("localhost/infernet-test/none:1") is None
    # Written as for Docker, without a registry.
    podman.echo_image("docker.io/infernet-test/short:1")
    assert engine.find_image("infernet-test/short:1") == found


def test_the_life_of_a_container(podman: IsolatedPodman, engine: Engine) -> None:
    specification = specified(engine, podman.echo_image(), command="--crash 4")
    created = engine.create(specification)
    (found,) = engine.containers(NODE)
    assert (found.id, found.container, found.running) == (created, "echo", False)
    assert found.specification in specification["labels"].values()
    engine.start(created)
    podman.run("wait", created)
    (found,) = engine.containers(NODE)
    assert (found.running, found.exit_code) == (False, 4)
    assert found.port == specification["portmappings"][0]["host_port"]
    assert engine.logs(created) == "model file is missing"
    engine.remove(created)
    engine.remove(created)
    assert engine.containers(NODE) == []
    assert engine.containers("another") == []


def test_a_paused_container_is_stopped(podman: IsolatedPodman, engine: Engine) -> None:
    created = engine.create(specified(engine, podman.echo_image()))
    engine.start(created)
    podman.run("pause", created)
    (found,) = engine.containers(NODE)
    assert (found.running, found.paused, found.ended) == (False, True, False)
    state = engine.state(created)
    assert state is not None
    assert (state.running, state.paused) == (False, True)
    engine.stop(created, found.paused)
    (found,) = engine.containers(NODE)
    assert (found.running, found.paused, found.ended) == (False, False, True)
    with pytest.raises(EngineError, match="paused"):  # somebody was faster
        engine.stop(created, True)
    engine.remove(created)
    engine.stop(created, True)


def test_a_running_container_is_stopped_when_it_is_removed(
    podman: IsolatedPodman, engine: Engine
) -> None:
    created = engine.create(specified(engine, podman.echo_image()))
    engine.start(created)
    (found,) = engine.containers(NODE)
    assert found.running
    state = engine.state(created)
    assert state is not None
    assert state.running
    assert state.process.pid == found.pid == podman.inspect(created)["State"]["Pid"]
    assert state.process.conmon_pid > 0
    # Those of all nodes, but no others.
    podman.run("run", "--detach", podman.echo_image())
    assert [each.name for each in engine.containers()] == ["infernet-edge-echo-012345"]
    podman.run("kill", created)
    podman.run("wait", created)
    state = engine.state(created)
    assert state is not None
    assert (state.running, state.exit_code, state.process.pid) == (False, 137, 0)
    podman.run("start", created)
    engine.remove(created)
    assert len(podman.containers()) == 1
    assert engine.state(created) is None


def test_the_log_of_a_container_is_bounded(podman: IsolatedPodman, engine: Engine) -> None:
    created = engine.create(specified(engine, podman.echo_image()))
    log = podman.inspect(created)["HostConfig"]["LogConfig"]
    assert log["Type"] == "k8s-file"
    assert log["Size"] not in ("", "0B")


def test_errors_have_podmans_text(podman: IsolatedPodman, engine: Engine) -> None:
    specification = specified(engine, podman.echo_image())
    engine.create(specification)
    with pytest.raises(EngineError, match=r"could not create container .* already in use"):
        engine.create(specification)
    with pytest.raises(EngineError, match="image not known"):
        engine.create({**specification, "name": "other", "image": "none"})
    with pytest.raises(EngineError, match="could not start the container: no container with"):
        engine.start("none")


@pytest.mark.parametrize(
    ("parts", "log"),
    [
        # As catatonit, the init process, writes its error.
        (["ERROR: ", "no program", "\n"], "ERROR: no program"),
        (["first\n", "sec", "ond\n", "last ", "one"], "first\nsecond\nlast one"),
        (["x" * 20_000, "end"], "x" * 597 + "end"),
    ],
    ids=["one line", "several", "long"],
)
def test_the_log_of_a_program_that_writes_lines_in_parts(
    podman: IsolatedPodman, engine: Engine, parts: list[str], log: str
) -> None:
    code = (
        "import sys, time\n"
        f"for part in {parts}:\n"
        "    sys.stderr.write(part)\n"
        "    sys.stderr.flush()\n"
        "    time.sleep(0.1)"
    )
    specification = specified(engine, podman.echo_image())
    created = engine.create({**specification, "entrypoint": ["/python", "-c", code], "command": []})
    engine.start(created)
    podman.run("wait", created)
    assert engine.logs(created) == log
    engine.remove(created)


def test_a_pull_needs_the_password(podman: IsolatedPodman, registry: Registry) -> None:
    image = f"{registry.address}/team/echo:1"
    for engine in (Engine(podman.url, Login()), logged_in(podman, registry.address, "wrong")):
        with pytest.raises(EngineError, match=f"could not pull image {image}.*unauthorized"):
            pull(engine, image)


def test_a_pull_reports_its_progress(
    podman: IsolatedPodman, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_TEXT_PERIOD", 0)
    image = f"{registry.address}/team/echo:1"
    podman.run("rmi", image)
    reports: list[PullProgress] = []
    pulled = logged_in(podman, registry.address).pull(image, reports.append, threading.Event())
    assert pulled == logged_in(podman, registry.address).image(image)
    assert any("parts complete" in report.text for report in reports)


def test_a_cancelled_pull_ends(podman: IsolatedPodman, registry: Registry) -> None:
    given_up = threading.Event()
    given_up.set()
    with pytest.raises(EngineError, match="cancelled"):
        logged_in(podman, registry.address).pull(
            f"{registry.address}/team/echo:1", lambda text: None, given_up
        )


def test_an_image_that_the_registry_does_not_have(
    podman: IsolatedPodman, registry: Registry
) -> None:
    with pytest.raises(EngineError, match="manifest unknown"):
        pull(logged_in(podman, registry.address), f"{registry.address}/team/none:1")


def test_gpus_reach_the_container_by_cdi(podman: IsolatedPodman, engine: Engine) -> None:
    kind = f"infernet-edge.test/gpu{os.getpid()}"
    description = Path(f"/run/cdi/{kind.replace('/', '-')}.json")
    try:
        description.parent.mkdir(exist_ok=True)
        description.write_text(
            f'{{"cdiVersion": "0.3.0", "kind": "{kind}", "devices":'
            ' [{"name": "all", "containerEdits": {"env": ["FAKE_GPU=1"]}}]}'
        )
    except OSError:
        pytest.skip("only root may describe devices")
    try:
        image = podman.echo_image()
        created = engine.create(specified(engine, image, devices=[f"{kind}=all"]))
        engine.start(created)
        read = "print(open('/proc/1/environ').read())"
        assert "FAKE_GPU=1" in podman.run("exec", created, "/python", "-c", read)
    finally:
        description.unlink()
