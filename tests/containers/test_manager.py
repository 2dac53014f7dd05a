"""The manager against real Podman."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
import time
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest

from infernet_edge.api.overview.conditions import of_service
from infernet_edge.config.model import Config, Container, Podman, Storage
from infernet_edge.config.model import Registry as Login
from infernet_edge.config.secret_files import Secret
from infernet_edge.containers import connection
from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.client import ServiceClient
from infernet_edge.containers.manager import ContainerManager
from infernet_edge.containers.podman import Engine, EngineInfo, Found
from infernet_edge.containers.protocols.call import ContainerInput
from infernet_edge.containers.service import ServiceUnavailable, make_services
from infernet_edge.containers.specification import CONTAINER_LABEL
from infernet_edge.containers.supervision import endings
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import HttpError
from tests.support.events import Events
from tests.support.managing import QUICK, configuration, container, eventually, managing
from tests.support.podman import IsolatedPodman, Registry, need
from tests.support.ports import free_port
from tests.support.socket_unit import SocketUnit


def port_of(base_url: str) -> int:
    return int(base_url.rpartition(":")[2])


async def test_a_container_runs_and_answers(podman: IsolatedPodman, tmp_path: Path) -> None:
    config = configuration(podman, tmp_path, container("echo", podman.echo_image()))
    async with managing(config) as managed:
        assert managed.services["echo"].reason == ""
        assert managed.manager.engine_problem == ""
        assert await managed.call("echo", {"a": 1}) == {"output": {"a": 1}, "echo": True}
        assert len((await managed.call("echo", "x", destination=2)).splitlines()) == 5
    assert podman.containers() == []


async def test_the_report_of_a_container(podman: IsolatedPodman, tmp_path: Path) -> None:
    """Its memory and its time come from the kernel; it counts how often it was started again."""
    echo = container("echo", podman.echo_image(), memory="512m")
    config = configuration(podman, tmp_path, echo)
    async with managing(config) as managed:
        (report,) = await managed.manager.report()
        assert (report["state"], report["restarts"]) == ("ready", 0)
        assert report["image"] == podman.echo_image()
        assert report["port"] == managed.services["echo"].port
        assert 2**20 < report["memory"] < report["memory_limit"] == 512 * 2**20
        assert 0 <= report["uptime"] < 60
        podman.run("kill", "--all")
        async with asyncio.timeout(20):
            while not (report := (await managed.manager.report())[0])["restarts"]:
                await asyncio.sleep(0.05)
            while managed.services["echo"].state != "ready":
                await asyncio.sleep(0.05)
        assert report["restarts"] == 1


def device(folder: Path, group: int) -> Path:
    """A device file like /dev/null that belongs to this group and is for nobody else."""
    if os.getuid() != 0:
        pytest.skip("only root can make device files")
    file = folder / "npu0"
    subprocess.run(["mknod", "--mode=660", file, "c", "1", "3"], check=True)
    os.chown(file, 0, group)
    return file


async def test_a_device_and_its_group_reach_the_container(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    file = device(tmp_path, 4711)
    configured = container("echo", podman.echo_image(), devices=[f"{file}:/dev/npu0:rw"])
    async with managing(configuration(podman, tmp_path, configured)) as managed:
        read = ["/proc/self/status", "/dev/npu0"]
        answer = await managed.call("echo", {"show": True, "read": read})
        lines = answer["files"]["/proc/self/status"].splitlines()
        (groups,) = (line for line in lines if line.startswith("Groups:"))
        assert groups.split()[1:] == ["4711"]


@pytest.mark.parametrize(("runtime", "warnings"), [("crun", 0), ("runc", 1)])
async def test_without_root_groups_are_kept_which_crun_alone_can(
    podman: IsolatedPodman,
    tmp_path: Path,
    events: Events,
    monkeypatch: pytest.MonkeyPatch,
    runtime: str,
    warnings: int,
) -> None:
    real = Engine.info

    def info(engine: Engine, timeout: float = 10) -> EngineInfo:
        return real(engine, timeout)._replace(rootless=True, runtime=runtime)

    monkeypatch.setattr(Engine, "info", info)
    configured = container("echo", podman.echo_image(), devices=[f"{device(tmp_path, 4711)}"])
    async with managing(configuration(podman, tmp_path, configured)):
        found = podman.inspect(podman.containers()[0])
        assert found["Config"]["Annotations"]["run.oci.keep_original_groups"] == "1"
        assert not found["HostConfig"]["GroupAdd"]
    assert len(events.of("container.groups_dropped")) == warnings


async def test_a_missing_device_is_named_with_what_to_do(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    configured = container("echo", podman.echo_image(), devices=["/dev/infernet-edge-gone"])
    async with managing(configuration(podman, tmp_path, configured), settled=5) as managed:
        service = managed.services["echo"]
        await eventually(lambda: service.state == "failed")
        assert "/dev/infernet-edge-gone: no such file" in service.reason
        assert "change containers[].devices" in service.reason


async def test_the_port_is_on_loopback_only(podman: IsolatedPodman, tmp_path: Path) -> None:
    configured = container("echo", podman.echo_image())
    async with managing(configuration(podman, tmp_path, configured)) as managed:
        name = podman.containers()[0]
        assert name.startswith("infernet-edge-echo-")
        bindings = podman.inspect(name)["HostConfig"]["PortBindings"]
        assert bindings == {"3000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(configured.port)}]}
        assert port_of(managed.services["echo"].base_url) == configured.port


async def test_environment_command_and_volumes_reach_the_container(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    (tmp_path / "with space").write_text("from the host")
    configured = container(
        "echo",
        podman.echo_image(),
        env={"GREETING": "hello world", "COUNT": 3},
        command="-- one 'two words'",
        volumes=[f"{tmp_path}/with space:/given:ro", f"{tmp_path}:/twice", "kept:/kept"],
    )
    async with managing(configuration(podman, tmp_path, configured)) as managed:
        answer = await managed.call("echo", {"show": True, "read": ["/given"]})
        assert answer["environment"]["GREETING"] == "hello world"
        assert answer["environment"]["COUNT"] == "3"
        assert answer["arguments"] == ["--", "one", "two words"]
        assert answer["files"]["/given"] == "from the host"
        mounts = {
            each["Destination"]: each for each in podman.inspect(podman.containers()[0])["Mounts"]
        }
        assert not mounts["/given"]["RW"]
        assert mounts["/twice"]["Source"] == str(tmp_path)
        assert mounts["/kept"]["Name"] == "kept"
    assert "kept" in podman.run("volume", "ls", "--quiet").split()


async def test_limits_are_applied(podman: IsolatedPodman, tmp_path: Path, events: Events) -> None:
    configured = container("echo", podman.echo_image(), memory="128m", cpus=0.5, pids=40)
    async with managing(configuration(podman, tmp_path, configured)):
        if events.of("container.limits_ignored"):
            pytest.skip("Podman has no control over limits here")
        applied = podman.inspect(podman.containers()[0])["HostConfig"]
        assert applied["Memory"] == 128 * 2**20
        assert applied["CpuQuota"] / applied["CpuPeriod"] == 0.5
        assert applied["PidsLimit"] == 40
        assert applied["RestartPolicy"]["Name"] in ("", "no")


async def test_without_control_over_limits_it_runs_with_a_warning(
    podman: IsolatedPodman, tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Engine.info
    monkeypatch.setattr(
        Engine,
        "info",
        lambda self, timeout: real(self, timeout)._replace(limits=frozenset({"pids"})),
    )
    configured = container("echo", podman.echo_image(), memory="128m", cpus=0.5)
    async with managing(configuration(podman, tmp_path, configured)) as managed:
        assert managed.services["echo"].state == "ready"
        assert podman.inspect(podman.containers()[0])["HostConfig"]["Memory"] == 0
    assert [fields["limits"] for fields in events.of("container.limits_ignored")] == ["memory, cpu"]


async def test_the_health_check_of_the_image_is_off(podman: IsolatedPodman, tmp_path: Path) -> None:
    recipe = tmp_path / "Containerfile"
    recipe.write_text(f'FROM {podman.echo_image()}\nHEALTHCHECK --interval=1s CMD ["/nothing"]\n')
    image = "localhost/infernet-test/sick:1"
    podman.run("build", "--format=docker", "--tag", image, "--file", str(recipe), str(tmp_path))
    async with managing(configuration(podman, tmp_path, container("echo", image))) as managed:
        assert managed.services["echo"].state == "ready"
        inspected = podman.inspect(podman.containers()[0])
        assert inspected["Config"]["Healthcheck"]["Test"] == ["NONE"]


async def test_the_networks_of_containers_are_known(podman: IsolatedPodman, tmp_path: Path) -> None:
    config = configuration(podman, tmp_path, container("echo", podman.echo_image()))
    async with managing(config) as managed:
        rootless = podman.run("info", "--format", "{{.Host.Security.Rootless}}") == "true"
        expected = [] if rootless else [ip_network(podman.subnet)]
        assert managed.manager.networks() == expected


async def test_an_address_identifies_the_container(podman: IsolatedPodman, tmp_path: Path) -> None:
    """Also after the container was created again, with another address."""
    first = container("first", podman.echo_image())
    second = container("second", podman.echo_image())
    async with managing(configuration(podman, tmp_path, first, second)) as managed:
        if podman.run("info", "--format", "{{.Host.Security.Rootless}}") == "true":
            pytest.skip("without root, containers have no address of their own")

        def addresses() -> dict[str, str]:
            """Those of the containers, by what Podman says."""
            found = {}
            for name in podman.containers("status=running"):
                inspected = podman.inspect(name)
                [network] = inspected["NetworkSettings"]["Networks"].values()
                found[inspected["Config"]["Labels"][CONTAINER_LABEL]] = network["IPAddress"]
            return found

        before = addresses()
        for identifier in ("first", "second"):
            assert managed.manager.container_at(before[identifier]) == identifier
        assert managed.manager.container_at("10.231.255.254") == ""
        podman.run("rm", "--all", "--force", "--time=0")
        await eventually(lambda: len(podman.containers("status=running")) == 2)
        await eventually(lambda: managed.services["first"].state == "ready")
        await eventually(lambda: managed.services["second"].state == "ready")
        for identifier, address in addresses().items():
            assert managed.manager.container_at(address) == identifier


async def test_readiness_waits_for_an_http_answer(podman: IsolatedPodman, tmp_path: Path) -> None:
    image = podman.echo_image()
    config = configuration(
        podman,
        tmp_path,
        container("late", image, command="--delay 1"),
        container("deaf", image, command="--deaf"),
        container("unhealthy", image, command="--unhealthy", health_path="/health"),
        container("forbidding", image, command="--unhealthy"),
    )
    async with managing(config, settled=0) as managed:
        services = managed.services
        await eventually(lambda: services["late"].state == services["forbidding"].state == "ready")
        await eventually(lambda: "status 503" in services["unhealthy"].reason)
        assert services["unhealthy"].state == services["deaf"].state == "starting"
        assert "does not answer yet" in services["deaf"].reason


async def test_a_running_container_is_adopted_after_an_unclean_end(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    config = configuration(podman, tmp_path, container("echo", podman.echo_image()))
    async with managing(config, stop=False):
        before = podman.inspect(podman.containers()[0])["Id"]
    async with managing(config) as managed:
        assert podman.inspect(podman.containers()[0])["Id"] == before
        assert (await managed.call("echo", 1))["output"] == 1
        assert events.of("container.adopted")
        # It is watched like any other.
        podman.run("kill", before)
        await eventually(lambda: events.of("container.stopped"))
        await eventually(lambda: managed.services["echo"].state == "ready")


async def test_a_container_on_another_port_is_adopted_with_it(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    configured = container("echo", podman.echo_image())
    config = configuration(podman, tmp_path, configured)
    with socket.create_server(("127.0.0.1", configured.port)):
        async with managing(config, stop=False) as managed:
            used = port_of(managed.services["echo"].base_url)
            assert used != configured.port
    async with managing(config) as managed:
        assert port_of(managed.services["echo"].base_url) == used
        assert (await managed.call("echo", 1))["output"] == 1


async def test_a_changed_container_is_replaced_and_an_unconfigured_one_removed(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    image = podman.echo_image()
    first = container("echo", image)
    async with managing(
        configuration(podman, tmp_path, first, container("gone", image)), stop=False
    ):
        assert len(podman.containers()) == 2
    podman.run("run", "--detach", "--name", "somebodys", image)
    changed = msgspec.structs.replace(first, env={"NEW": "yes"})
    async with managing(configuration(podman, tmp_path, changed)) as managed:
        answer = await managed.call("echo", {"show": True})
        assert answer["environment"]["NEW"] == "yes"
        assert events.of("container.replaced")
        await eventually(lambda: len(podman.containers()) == 2)
    assert podman.containers() == ["somebodys"]


async def test_another_nodes_containers_are_kept(podman: IsolatedPodman, tmp_path: Path) -> None:
    image = podman.echo_image()
    first = configuration(podman, tmp_path / "first", container("echo", image))
    second = configuration(podman, tmp_path / "second", container("echo", image))
    async with managing(first) as managed:
        async with managing(second):
            assert len(podman.containers()) == 2
        assert (await managed.call("echo", 1))["output"] == 1


async def test_a_container_that_dies_is_started_again(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    config = configuration(podman, tmp_path, container("echo", podman.echo_image()))
    async with managing(config) as managed:
        with pytest.raises(HttpError):
            await managed.call("echo", {"exit": 7})
        await eventually(lambda: events.of("container.stopped"))
        reason = events.of("container.stopped")[0]["reason"]
        assert reason.startswith("it stopped with exit code 7; its last output: ")
        assert reason.endswith("told to exit")  # after what its server says of the connection
        await managed.services["echo"].wait_ready(30)
        assert (await managed.call("echo", 1))["output"] == 1


async def test_a_container_removed_by_hand_is_created_again(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    config = configuration(podman, tmp_path, container("echo", podman.echo_image()))
    async with managing(config) as managed:
        podman.run("rm", "--force", "--time=0", podman.containers()[0])
        await eventually(lambda: managed.services["echo"].state != "ready")
        await managed.services["echo"].wait_ready(30)
        assert (await managed.call("echo", 1))["output"] == 1


async def test_a_crash_loop_ends_in_failure_with_the_reason(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    configured = container("echo", podman.echo_image(), command="--crash 3")
    async with managing(configuration(podman, tmp_path, configured)) as managed:
        service = managed.services["echo"]
        assert service.state == "failed"
        assert "stopped 5 times in a row" in service.reason
        (found,) = of_service(service, "")  # what the operator is shown
        assert found.attention.id == "container.crash_loop:echo"
        assert "exit code 3" in found.attention.text
        assert "exit code 3; its last output: model file is missing" in service.reason
        pauses = [fields["next_start_seconds"] for fields in events.of("container.stopped")]
        assert pauses == [0.1, 0.2, 0.4, 0.5, 300.0]
        with pytest.raises(ServiceUnavailable, match=r"with exit code 3\.$"):
            await service.wait_ready(30)


async def test_after_a_crash_loop_it_is_retried_and_recovers(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    (tmp_path / "models").mkdir()
    configured = container(
        "echo",
        podman.echo_image(),
        command="--need /models/one",
        volumes=[f"{tmp_path}/models:/models"],
    )
    timing = msgspec.structs.replace(QUICK, crash_loop=0.2, crash_cap=2)
    async with managing(configuration(podman, tmp_path, configured), timing) as managed:
        service = managed.services["echo"]
        assert service.state == "failed"
        # Jobs get the reason at all times, also during another attempt.
        count = len(events.of("container.started"))
        await eventually(lambda: len(events.of("container.started")) > count)
        assert (service.state, "model file is missing" in service.reason) == ("failed", True)
        (tmp_path / "models" / "one").write_text("")
        await eventually(lambda: service.state == "ready")


async def test_a_container_that_cannot_be_created_is_retried(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    configured = container("echo", podman.echo_image(), volumes=[f"{source}:/source"])
    async with managing(configuration(podman, tmp_path, configured)) as managed:
        service = managed.services["echo"]
        assert service.state == "failed"
        assert str(source) in service.reason
        source.mkdir()
        await eventually(lambda: service.state == "ready")


@pytest.mark.skipif(
    any([*Path("/etc/cdi").glob("nvidia*"), *Path("/run/cdi").glob("nvidia*")]),
    reason="this machine has GPUs described",
)
async def test_a_gpu_that_podman_cannot_find_is_reported_with_the_remedy(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    configured = container("echo", podman.echo_image(), gpu=True)
    async with managing(configuration(podman, tmp_path, configured)) as managed:
        assert managed.services["echo"].state == "failed"
        assert "nvidia-ctk cdi generate" in managed.services["echo"].reason


async def test_a_missing_image_does_not_keep_others_from_running(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    absent = f"127.0.0.1:{free_port()}/absent:1"
    config = configuration(
        podman,
        tmp_path,
        container("broken", absent),
        container("unrunnable", "localhost/infernet-test/empty:1"),
        container("echo", podman.echo_image()),
    )
    (tmp_path / "empty.tar").write_bytes(b"\0" * 10240)
    podman.run("import", str(tmp_path / "empty.tar"), "localhost/infernet-test/empty:1")
    async with managing(config) as managed:
        assert managed.services["echo"].state == "ready"
        assert (await managed.call("echo", 1))["output"] == 1
        # Between two attempts; each takes a moment on a busy machine.
        await eventually(lambda: managed.services["broken"].state == "failed")
        assert absent in managed.services["broken"].reason
        assert "connection refused" in managed.services["broken"].reason
        await eventually(lambda: managed.services["unrunnable"].state == "failed")
        await eventually(lambda: len(events.of("container.failed")) >= 4)  # both retry
        # The image appears, and is used.
        podman.run("tag", podman.echo_image(), absent)
        await eventually(lambda: managed.services["broken"].state == "ready")


async def test_a_port_that_is_in_use_is_replaced_by_another(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    configured = container("echo", podman.echo_image())
    with socket.create_server(("127.0.0.1", configured.port)):
        async with managing(configuration(podman, tmp_path, configured)) as managed:
            assert (await managed.call("echo", 1))["output"] == 1
            used = port_of(managed.services["echo"].base_url)
    assert used < 4000
    warning = events.of("container.port_replaced")[0]
    assert (warning["configured_port"], warning["port"]) == (configured.port, used)


async def test_podman_may_stop_and_start_again(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    config = configuration(podman, tmp_path, container("echo", podman.echo_image()))
    async with managing(config) as managed:
        service = managed.services["echo"]
        podman.kill_service()
        await eventually(lambda: managed.manager.engine_problem)
        assert (await managed.call("echo", 1))["output"] == 1
        assert service.state == "ready"
        # A container that stops meanwhile is detected by probing, and started again later.
        podman.run("kill", podman.containers()[0])
        await eventually(lambda: service.state == "starting")
        podman.start_service()
        await eventually(lambda: managed.manager.engine_problem == "")
        await service.wait_ready(30)
        assert (await managed.call("echo", 1))["output"] == 1
        assert len(events.of("container.stopped")) == 1


async def test_a_podman_that_is_stopping_is_detected_when_it_is_needed(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    config = configuration(podman, tmp_path, container("echo", podman.echo_image()))
    async with managing(config) as managed:
        await asyncio.to_thread(podman.end_service)
        # No call needs it, so that alone does not make the node search for another one.
        podman.run("kill", podman.containers()[0])
        await eventually(lambda: managed.manager.engine_problem)
        podman.kill_service()
        podman.start_service()
        await eventually(lambda: managed.services["echo"].state == "ready")


async def test_without_podman_containers_fail_with_the_reason(tmp_path: Path) -> None:
    config = Config(
        podman=Podman(url=f"unix://{tmp_path}/absent.sock"),
        storage=Storage(path=str(tmp_path)),
        containers=[container("echo", "localhost/none:1")],
    )
    async with managing(config) as managed:
        assert managed.services["echo"].state == "failed"
        assert "absent.sock" in managed.services["echo"].reason
        assert "podman.socket" in managed.manager.engine_problem


async def test_an_unexpected_error_of_a_task_is_logged(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And the task is restarted."""
    calls: list[int] = []

    async def fail(_: connection.Connection) -> Engine:
        calls.append(1)
        raise RuntimeError("not expected")

    monkeypatch.setattr(connection.Connection, "open", fail)
    config = Config(storage=Storage(path=str(tmp_path)), containers=[container("echo", "any")])
    async with managing(config, settled=0):
        await eventually(lambda: len(calls) > 1)
    record = next(record for record in caplog.records if record.message == "task.failed")
    assert getattr(record, "fields", None) == {"task": "podman"}
    assert "not expected" in str(record.exc_info)


async def test_a_podman_that_a_socket_starts_stops_when_idle_and_is_started_again(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    with SocketUnit(podman, idle=1) as unit:
        config = configuration(podman, tmp_path, container("echo", podman.echo_image()))
        config = msgspec.structs.replace(config, podman=Podman(url=unit.url))
        async with managing(config) as managed:
            await eventually(lambda: not unit.running)
            starts = unit.starts
            assert (await managed.call("echo", 1))["output"] == 1
            assert unit.starts == starts
            podman.run("kill", podman.containers()[0])
            await eventually(lambda: len(events.of("container.became_ready")) == 2)
            assert "exit code 137" in events.of("container.stopped")[0]["reason"]
            # Its end is not detected, which is not necessary.
            unit.kill()
            await asyncio.sleep(0.5)
            assert managed.manager.engine_problem == ""
            podman.run("kill", podman.containers()[0])
            await eventually(lambda: len(events.of("container.became_ready")) == 3)
            assert events.of("podman.lost") == []
            await eventually(lambda: not unit.running)
        assert podman.containers() == []


async def test_podman_that_starts_late_is_used(podman: IsolatedPodman, tmp_path: Path) -> None:
    podman.kill_service()
    config = configuration(podman, tmp_path, container("echo", podman.echo_image()))
    async with managing(config) as managed:
        assert managed.services["echo"].state == "failed"
        podman.start_service()
        await eventually(lambda: managed.services["echo"].state == "ready")


@pytest.fixture
def own_service(podman: IsolatedPodman, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node has to start Podman's service by itself, and soon ends it."""
    monkeypatch.setattr(connection, "standard_sockets", lambda environment: [])
    monkeypatch.setattr(connection, "_IDLE_SECONDS", 0.5)
    for name, value in podman.environment.items():
        monkeypatch.setenv(name, value)


def without_address(folder: Path, *containers: Container) -> Config:
    return Config(storage=Storage(path=str(folder / "node")), containers=list(containers))


@pytest.mark.usefixtures("own_service")
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize(
    ("how", "code"), [("podman kill", 137), ("SIGKILL", 137), ("exit", 7), ("memory", 137)]
)
async def test_an_end_is_detected_immediately_while_podman_does_not_run(
    podman: IsolatedPodman, tmp_path: Path, events: Events, how: str, code: int, busy: bool
) -> None:
    memory = {"memory": "64m"} if how == "memory" else {}
    config = without_address(tmp_path, container("echo", podman.echo_image(), **memory))
    async with managing(config) as managed:
        if events.of("container.limits_ignored"):
            pytest.skip("Podman has no control over limits here")
        service = managed.services["echo"]
        daemon = managed.manager.connection.daemon
        await eventually(lambda: not daemon.running)
        name = podman.containers()[0]
        pid = podman.inspect(name)["State"]["Pid"]
        job = asyncio.create_task(managed.call("echo", {"sleep": 60 if busy else 0}))
        await asyncio.sleep(0.3)
        assert service.state == "ready"
        assert not daemon.running
        begin = time.monotonic()
        if how == "podman kill":
            await asyncio.to_thread(podman.run, "kill", name)
        elif how == "SIGKILL":
            os.kill(pid, signal.SIGKILL)
        else:
            orders = {"exit": 7} if how == "exit" else {"allocate": 500}
            with pytest.raises(HttpError):
                await managed.call("echo", orders)
        await eventually(lambda: service.state != "ready", 10)
        await eventually(lambda: events.of("container.stopped"), 20)  # idle, it would be 30
        assert time.monotonic() - begin < 20
        assert f"exit code {code}" in events.of("container.stopped")[0]["reason"]
        assert len(events.of("podman.connected")) == 1
        await eventually(lambda: service.state == "ready")
        assert (await managed.call("echo", 1))["output"] == 1
        await asyncio.gather(job, return_exceptions=True)
        assert isinstance(job.exception(), HttpError) is busy
        # It stops again, and its address stays the same.
        await eventually(lambda: not daemon.running)
    assert podman.containers() == []


@pytest.mark.usefixtures("own_service")
async def test_calls_at_the_same_time_start_podman_once(
    podman: IsolatedPodman, tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = podman.echo_image()
    config = without_address(tmp_path, *(container(f"c{n}", image) for n in range(3)))
    async with managing(config) as managed:
        daemon = managed.manager.connection.daemon
        await eventually(lambda: not daemon.running)
        starts = []
        real = daemon.start

        async def start() -> None:
            starts.append(1)
            await real()

        monkeypatch.setattr(daemon, "start", start)
        monkeypatch.setattr(connection, "_IDLE_SECONDS", 30)
        for name in podman.containers():
            os.kill(podman.inspect(name)["State"]["Pid"], signal.SIGKILL)
        await eventually(lambda: len(events.of("container.became_ready")) == 6)
        assert starts == [1]


@pytest.mark.usefixtures("own_service")
async def test_podmans_service_is_killed_in_the_middle(
    podman: IsolatedPodman, tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_IDLE_SECONDS", 30)
    config = without_address(tmp_path, container("echo", podman.echo_image()))
    async with managing(config) as managed:
        daemon = managed.manager.connection.daemon
        assert daemon.process is not None
        folder = Path(daemon.url.removeprefix("unix://")).parent
        os.killpg(daemon.process.pid, signal.SIGKILL)
        await eventually(lambda: not daemon.running)
        assert (await managed.call("echo", 1))["output"] == 1
        os.kill(podman.inspect(podman.containers()[0])["State"]["Pid"], signal.SIGKILL)
        await eventually(lambda: len(events.of("container.became_ready")) == 2)
        assert managed.manager.engine_problem == ""
    assert podman.containers() == []
    assert not folder.exists()


@pytest.mark.usefixtures("own_service")
async def test_podman_that_cannot_be_started_again_is_a_problem_once_it_is_needed(
    podman: IsolatedPodman, tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = podman.echo_image()
    config = without_address(tmp_path, container("first", image), container("second", image))
    async with managing(config) as managed:
        daemon = managed.manager.connection.daemon
        await eventually(lambda: not daemon.running)
        (tmp_path / "empty").mkdir()
        with monkeypatch.context() as uninstalled:
            pids = [podman.inspect(name)["State"]["Pid"] for name in sorted(podman.containers())]
            uninstalled.setenv("PATH", str(tmp_path / "empty"))
            os.kill(pids[0], signal.SIGKILL)
            await eventually(lambda: "apt-get install podman" in managed.manager.engine_problem)
            await eventually(lambda: "install podman" in managed.services["first"].reason)
            assert (await managed.call("second", 1))["output"] == 1
            assert managed.services["second"].state == "ready"
            # A container that stops meanwhile is detected as well.
            os.kill(pids[1], signal.SIGKILL)
            await eventually(lambda: managed.services["second"].state == "failed")
        await eventually(lambda: managed.manager.engine_problem == "")
        await eventually(lambda: len(events.of("container.became_ready")) == 4)


@pytest.mark.usefixtures("own_service")
async def test_containers_are_adopted_and_watched_after_the_node_and_podman_ended(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    config = without_address(tmp_path, container("echo", podman.echo_image()))
    async with managing(config, stop=False) as killed:
        daemon = killed.manager.connection.daemon
        await eventually(lambda: not daemon.running)
    async with managing(config) as managed:
        assert len(events.of("container.adopted")) == 1
        daemon = managed.manager.connection.daemon
        await eventually(lambda: not daemon.running)
        os.kill(podman.inspect(podman.containers()[0])["State"]["Pid"], signal.SIGKILL)
        await eventually(lambda: managed.services["echo"].state != "ready", 10)
        await eventually(lambda: managed.services["echo"].state == "ready")
    await killed.manager.connection.close()


async def test_a_container_that_was_restarted_by_hand_is_adopted(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    config = configuration(podman, tmp_path, container("echo", podman.echo_image()))
    async with managing(config) as managed:
        before = podman.inspect(podman.containers()[0])["Id"]
        await asyncio.to_thread(podman.run, "restart", "--time=1", before)
        await eventually(lambda: events.of("container.adopted"))
        await eventually(lambda: managed.services["echo"].state == "ready")
        assert podman.inspect(podman.containers()[0])["Id"] == before
        os.kill(podman.inspect(before)["State"]["Pid"], signal.SIGKILL)
        await eventually(lambda: len(events.of("container.became_ready")) == 3)


async def test_a_container_whose_end_podman_missed_is_replaced(
    podman: IsolatedPodman, tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """conmon tells Podman of the end, and may have been killed before."""
    monkeypatch.setattr(endings, "_EXIT_CODE_TIMEOUT", 1.0)
    config = configuration(podman, tmp_path, container("echo", podman.echo_image()))
    async with managing(config) as managed:
        name = podman.containers()[0]
        state = podman.inspect(name)["State"]
        os.kill(state["ConmonPid"], signal.SIGKILL)
        os.kill(state["Pid"], signal.SIGKILL)
        await eventually(lambda: managed.services["echo"].state != "ready", 10)
        await eventually(lambda: len(events.of("container.became_ready")) == 2)
        assert (await managed.call("echo", 1))["output"] == 1
        assert "does not report the reason" in events.of("container.stopped")[0]["reason"]


async def test_a_container_that_was_paused_by_hand_is_replaced(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    timing = msgspec.structs.replace(QUICK, reconcile=0.5)
    config = configuration(podman, tmp_path, container("echo", podman.echo_image()))
    async with managing(config, timing) as managed:
        podman.run("pause", podman.containers()[0])
        await eventually(lambda: len(events.of("container.became_ready")) == 2)
        assert (await managed.call("echo", 1))["output"] == 1
        assert "paused it" in events.of("container.stopped")[0]["reason"]


def list_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the calls that list Podman's containers from now on."""
    asked: list[str] = []
    real = Engine.containers

    def containers(engine: Engine, node: str = "") -> list[Found]:
        asked.append(node)
        return real(engine, node)

    monkeypatch.setattr(Engine, "containers", containers)
    return asked


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
async def test_an_end_is_detected_where_processes_are_not_visible(
    podman: IsolatedPodman,
    tmp_path: Path,
    events: Events,
    monkeypatch: pytest.MonkeyPatch,
    busy: bool,
) -> None:
    def no_pidfd(pid: int) -> int:
        raise OSError(errno.ENOSYS, "no such call")  # before Linux 5.3

    monkeypatch.setattr(os, "pidfd_open", no_pidfd)
    timing = msgspec.structs.replace(QUICK, port_poll_busy=0.3, port_poll_idle=30 if busy else 0.6)
    config = configuration(podman, tmp_path, container("echo", podman.echo_image()))
    async with managing(config, timing) as managed:
        assert events.of("container.watch_failed")
        asked = list_calls(monkeypatch)
        service = managed.services["echo"]
        client = ServiceClient(managed.http, 2**20)
        body = ContainerInput(b'{"sleep": 60}', 1, 1, requires_proof=False)
        job = asyncio.create_task(client.call(service, body)) if busy else None
        await asyncio.sleep(1.5)
        assert not asked  # while it runs, Podman is not called
        podman.run("kill", podman.containers()[0])  # which ends the job as well
        # Where a job ended with it, the probe after that may be earlier than the poll of the port.
        seen = ("container.stopped", "container.unresponsive") if busy else ("container.stopped",)
        await eventually(lambda: any(map(events.of, seen)), 20)  # idle, it would be 30
        for stopped in events.of("container.stopped")[:1]:
            assert "exit code 137" in stopped["reason"]
        await eventually(lambda: service.state == "ready")
        if job is not None:
            with pytest.raises(ContainerFailure):
                await job


async def test_a_container_that_closes_its_port_is_checked_less_and_less_often(
    podman: IsolatedPodman, tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open")  # a Python for older kernels
    timing = msgspec.structs.replace(QUICK, port_poll_busy=0.1, port_poll_idle=0.1)
    deaf = container("deaf", podman.echo_image(), command="--deaf")
    async with managing(configuration(podman, tmp_path, deaf), timing, settled=0):
        await eventually(lambda: events.of("container.watch_failed"))
        asked = list_calls(monkeypatch)
        await asyncio.sleep(3)
        assert 1 <= len(asked) <= 6
        assert events.of("container.stopped") == []


async def test_containers_are_stopped_at_the_same_time(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    image = podman.echo_image()
    stubborn = [container(f"c{n}", image, command="--stubborn") for n in range(5)]
    async with managing(configuration(podman, tmp_path, *stubborn)) as managed:
        assert {service.state for service in managed.services.values()} == {"ready"}
        begin = time.monotonic()
        await managed.manager.stop()
        took = time.monotonic() - begin
    assert podman.containers() == []
    assert took < 5 * QUICK.stop


async def test_stopping_in_the_middle_of_starting_leaves_nothing(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    image = podman.echo_image()
    for pause in (0.0, 0.05, 0.2):
        containers = [container(f"c{n}", image) for n in range(2)]
        async with managing(configuration(podman, tmp_path, *containers), settled=pause):
            pass
        assert podman.containers() == []


async def test_a_manager_stops_twice_and_without_having_started(tmp_path: Path) -> None:
    config = Config(storage=Storage(path=str(tmp_path)))
    async with HttpClient() as http:
        manager = ContainerManager(config, {}, http)
        await manager.stop()
        await manager.start()
        await manager.wait_until_settled(1)
        await manager.stop()
        await manager.stop()


async def test_unmanaged_services_are_probed(tmp_path: Path) -> None:
    answers = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        status = b"204 No Content" if answers.is_set() else b"500 Oh"
        writer.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = Config(
        manage_containers=False,
        storage=Storage(path=str(tmp_path)),
        containers=[
            Container(id="up", image="x", port=port),
            Container(id="healthy", url=f"http://127.0.0.1:{port}/", health_path="/health"),
            Container(id="down", image="x", port=free_port()),
        ],
    )
    async with server, managing(config) as managed:
        states = {name: service.state for name, service in managed.services.items()}
        assert states == {"up": "ready", "healthy": "failed", "down": "failed"}
        assert "status 500" in managed.services["healthy"].reason
        await managed.services["down"].wait_ready(1)  # jobs are not held back
        answers.set()
        await eventually(lambda: managed.services["healthy"].state == "ready")
    assert make_services(config)["up"].state == "starting"


async def test_a_pull_that_hangs_does_not_block_the_shutdown(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a registry that never answers
        image = f"127.0.0.1:{silent.getsockname()[1]}/team/echo:1"
        config = configuration(podman, tmp_path, container("echo", image))
        async with managing(config, settled=1) as managed:
            await eventually(lambda: "being pulled" in managed.services["echo"].reason)
            begin = time.monotonic()
            await managed.manager.stop()
            assert time.monotonic() - begin < 30


async def test_an_image_is_pulled_with_the_configured_password(
    podman: IsolatedPodman, tmp_path: Path, events: Events
) -> None:
    need("docker-registry")
    with Registry(tmp_path) as registry:
        podman.allow_insecure_registry(registry.port)
        image = podman.echo_image(f"{registry.address}/team/echo:1")
        credentials = f"--creds={registry.username}:{registry.password}"
        podman.run("push", "--tls-verify=false", credentials, image)
        podman.run("rmi", image)
        config = configuration(podman, tmp_path, container("echo", image))
        async with managing(config) as managed:
            assert managed.services["echo"].state == "failed"
            assert "unauthorized" in managed.services["echo"].reason
            assert "set docker.username and docker.password" in managed.services["echo"].reason
        login = Login(
            registry=registry.address,
            username=registry.username,
            password=Secret(registry.password),
        )
        config = msgspec.structs.replace(config, docker=login)
        async with managing(config) as managed:
            assert (await managed.call("echo", 1))["output"] == 1
        assert events.of("container.pulled")
        podman.run("rmi", image)
