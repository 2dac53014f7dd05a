"""A whole node with real containers, and everything that can happen to them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Api, eventually
from tests.support.node import NodeProcess
from tests.support.podman import IsolatedPodman
from tests.support.ports import free_port

pytestmark = pytest.mark.timeout(240)

MISSING = "localhost/infernet-test/nobody-has-this:1"
READY = 60.0  # seconds in which containers have to answer, on a busy machine


def node_with(
    podman: IsolatedPodman, folder: Path, *containers: dict[str, Any], **server: Any
) -> NodeProcess:
    image = podman.echo_image()
    config = {
        "manage_containers": True,
        "podman": {"url": podman.url},
        "server": server,
        "containers": [{"image": image, "port": free_port(), **each} for each in containers],
    }
    return NodeProcess(config, folder)


FIRST = {"id": "first", "description": "The first one"}
SECOND = {"id": "second", "external": False}


def listed(api: Api) -> set[str]:
    return {each["id"] for each in api.get("/info").json["containers"]}


def wait_for(api: Api, *containers: str) -> None:
    """Wait until exactly these containers run."""
    eventually(lambda: listed(api) == set(containers), within=READY)


def test_two_containers_and_one_that_cannot_be(podman: IsolatedPodman, tmp_path: Path) -> None:
    broken = {"id": "broken", "image": MISSING}
    with node_with(podman, tmp_path, FIRST, SECOND, broken) as node:
        api = Api(node.port)
        wait_for(api, "first", "second")
        assert api.health() == "healthy"
        assert api.get("/info").json["containers"][0] == {
            "id": "first",
            "external": True,
            "image": podman.echo_image(),
            "description": "The first one",
        }
        # Jobs, a chain, intermediate results.
        single = api.submit("first", {"n": 1})
        chain = api.submit(["first", "second", "first"], {"n": 2})
        results = api.finished([single, chain], intermediate=True)
        once = {"output": {"n": 2}, "echo": True}
        twice = {"output": once, "echo": True}
        assert [each["status"] for each in results] == ["success", "success"]
        assert results[0]["result"]["output"] == {"output": {"n": 1}, "echo": True}
        assert results[0]["intermediate_results"] == []
        assert results[1]["result"] == {
            "container": "first",
            "output": {"output": twice, "echo": True},
        }
        assert results[1]["intermediate_results"] == [
            {"container": "first", "output": once},
            {"container": "second", "output": twice},
        ]
        # A stream.
        stream = api.stream("first", {"n": 3})
        assert stream.complete
        assert stream.content == b"".join(b'%d:{"n": 3}\n' % number for number in range(5))
        [result] = api.finished([stream.id])
        assert result["result"]["output"] == {"output": stream.content.decode()}
        # The one that cannot be.
        results = api.finished([api.submit("broken"), api.submit(["first", "broken"], {"n": 4})])
        for result in results:
            assert (result["status"], result["result"]["container"]) == ("failed", "broken")
            assert MISSING in result["result"]["error"]
            assert "Traceback" not in result["result"]["error"]
        reply = api.post({"containers": ["broken"], "data": {}}, "/api/jobs/stream")
        assert reply.status == 502
        assert MISSING in reply.error
        assert set(api.get("/resources").json) <= {"first", "second"}
        assert len(podman.containers()) == 2
        assert node.stop() == 0
        assert podman.containers() == []
        assert "Traceback" not in node.log()


def test_after_kill_9_the_containers_are_adopted_and_the_jobs_finish(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    with node_with(podman, tmp_path, FIRST, SECOND) as node:
        api = Api(node.port)
        wait_for(api, "first", "second")
        before = sorted(podman.run("ps", "--quiet", "--no-trunc").split())
        held = [api.submit("first", {"sleep": 2, "n": number}) for number in range(12)]
        chains = [api.submit(["first", "second"], {"sleep": 1}) for _ in range(4)]
        node.kill()
        assert sorted(podman.run("ps", "--quiet", "--no-trunc").split()) == before
        node.start()
        results = api.finished([*held, *chains], within=READY)
        assert {each["status"] for each in results} == {"success"}
        assert [each["result"]["output"]["output"]["n"] for each in results[:12]] == [*range(12)]
        assert sorted(podman.run("ps", "--quiet", "--no-trunc").split()) == before
        assert node.log().count("container.adopted") == 2
        assert node.log().count("container.started") == 2


def test_a_container_that_dies_in_a_job_is_started_anew(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    with node_with(podman, tmp_path, FIRST) as node:
        api = Api(node.port)
        wait_for(api, "first")
        [result] = api.finished([api.submit("first", {"exit": 3})])
        assert result["status"] == "failed"
        assert result["result"]["error"]
        eventually(lambda: node.log().count("container.became_ready") == 2, within=READY)
        assert api.finished([api.submit("first", {"n": 1})])[0]["status"] == "success"
        # Jobs that come while it is down wait for it.
        podman.run("kill", *podman.run("ps", "--quiet").split())
        eventually(lambda: listed(api) == set())
        waiting = [api.submit("first", {"n": number}) for number in range(5)]
        results = api.finished(waiting, within=READY)
        assert {each["status"] for each in results} == {"success"}


def test_podman_may_be_killed_and_come_back_under_the_node(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    with node_with(podman, tmp_path, FIRST) as node:
        api = Api(node.port)
        wait_for(api, "first")
        podman.kill_service()
        eventually(lambda: "podman.lost" in node.log())
        # Containers do not need it to serve.
        for number in range(5):
            identifier = api.submit("first", {"n": number})
            assert api.finished([identifier])[0]["status"] == "success"
        assert api.stream("first").complete
        assert api.health() == "healthy"
        podman.start_service()
        # It is watched over again: a container that ends is started anew.
        podman.run("kill", *podman.run("ps", "--quiet").split())
        eventually(lambda: node.log().count("container.started") == 2, within=READY)
        wait_for(api, "first")
        assert api.finished([api.submit("first")])[0]["status"] == "success"
        assert "Traceback" not in node.log()


def test_a_node_without_podman_says_so_and_begins_when_it_comes(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    podman.kill_service()
    with node_with(podman, tmp_path, FIRST) as node:
        api = Api(node.port)
        eventually(lambda: api.health() == "unhealthy")
        assert listed(api) == set()
        [result] = api.finished([api.submit("first")])
        assert result["status"] == "failed"
        assert "Podman" in result["result"]["error"]
        podman.start_service()
        wait_for(api, "first")
        assert api.health() == "healthy"
        assert api.finished([api.submit("first")])[0]["status"] == "success"
        assert "Traceback" not in node.log()


def test_a_stop_without_podman_is_clean_and_bounded(podman: IsolatedPodman, tmp_path: Path) -> None:
    with node_with(podman, tmp_path, FIRST) as node:
        wait_for(Api(node.port), "first")
        podman.kill_service()
        assert node.stop() == 0
        assert "Traceback" not in node.log()
        podman.start_service()
        node.start()  # what could not be removed is adopted
        wait_for(Api(node.port), "first")
        assert "container.adopted" in node.log()


def test_sigterm_while_containers_are_being_started(podman: IsolatedPodman, tmp_path: Path) -> None:
    """Whatever was begun is taken away again."""
    containers = [{"id": f"c{number}"} for number in range(4)]
    with node_with(podman, tmp_path, *containers) as node:
        eventually(lambda: bool(podman.containers()))
        assert node.stop() == 0
        assert podman.containers() == []
        assert "Traceback" not in node.log()


REPORT = """
import json, sys, urllib.error, urllib.request
body = json.dumps({"id": sys.argv[2], "status": "running", "containers": ["first"]}).encode()
request = urllib.request.Request(sys.argv[1] + "/api/status", body, method="PUT")
try:
    print(urllib.request.urlopen(request, timeout=20).status)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""


@pytest.mark.skipif(
    os.geteuid() != 0, reason="without root, containers reach this machine by another way"
)
def test_containers_of_the_node_may_report_a_status_and_others_may_not(
    podman: IsolatedPodman, tmp_path: Path
) -> None:
    node = node_with(podman, tmp_path, FIRST, host="0.0.0.0")
    with node:
        api = Api(node.port)
        wait_for(api, "first")
        [name] = podman.containers()
        [network] = podman.inspect(name)["NetworkSettings"]["Networks"].values()
        url = f"http://{network['Gateway']}:{node.port}"
        arguments = ("-I", "-c", REPORT, url)
        assert podman.run("exec", name, "/python", *arguments, "inside") == "200"
        assert [each["status"] for each in api.results(["inside"])] == ["running"]
        assert api.get("/info").json["pending"]["offchain"] == 1
        podman.run("network", "create", "strangers")
        try:
            options = ("--rm", "--network", "strangers", "--entrypoint", "/python")
            said = podman.run("run", *options, podman.echo_image(), *arguments, "outside")
        finally:
            podman.run("network", "rm", "--force", "strangers")
        assert said.startswith("403 ")
        assert "Unauthorized" in said
        assert api.results(["outside"]) == []
