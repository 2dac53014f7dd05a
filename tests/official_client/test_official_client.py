"""A real node, driven by the unmodified official client package (infernet-client 1.4.0)."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.echo import EchoService
from tests.support.hurried import with_values
from tests.support.node import NodeProcess
from tests.support.official_client import official_python

pytestmark = pytest.mark.xdist_group("official client")  # its fixtures are made once

DRIVE = Path(__file__).with_name("drive.py")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Seen = dict[str, Any]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """What the client saw.

    The node recognises this client and lets it read the id of a stream alone. It waits longer here
    than usual, since on a busy machine the client may read later than the rest arrives.
    """
    python = official_python()
    folder = tmp_path_factory.mktemp("official_client")
    patient = with_values({"api.streams._ID_ALONE": 1.0})
    with (
        EchoService(folder) as echo,
        NodeProcess({"containers": containers(echo)}, folder, command=patient) as node,
    ):
        command = [python, str(DRIVE), node.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
        assert done.returncode == 0, f"{done.stderr}\nnode: {node.state()}\n{node.log()}"
        yield json.loads(done.stdout)


def containers(echo: EchoService) -> list[dict[str, Any]]:
    return [
        {"id": "echo", "url": echo.url, "description": "gives back what it gets"},
        {"id": "slow", "url": f"{echo.url}/slow"},
        {"id": "long", "url": f"{echo.url}/longstream"},
        {"id": "broken", "url": f"{echo.url}/error500"},
        {"id": "internal", "url": echo.url, "external": False},
    ]


def test_information(seen: Seen) -> None:
    part = seen["information"]
    assert part["health"] is True
    assert part["info"]["version"].startswith("1.4")
    assert part["info"]["chain"] == {"enabled": False, "address": ""}
    assert part["info"]["pending"] == {"offchain": 0, "onchain": 0}
    ids = {container["id"]: container for container in part["info"]["containers"]}
    assert set(ids) == {"echo", "slow", "long", "broken", "internal"}
    assert ids["echo"]["description"] == "gives back what it gets"
    assert ids["echo"]["external"] is True
    assert ids["internal"]["external"] is False


def test_resources(seen: Seen) -> None:
    part = seen["information"]
    assert part["resources"]["echo"]["service_id"] == "echo"
    assert part["resources"]["echo"]["hardware_capabilities"][0]["capability_id"] == "base"
    assert part["support"]["echo"] == {"supported": True}


def test_a_job_gives_what_the_container_answered(seen: Seen) -> None:
    part = seen["single_jobs"]
    data = {"question": "how are you?", "wide": 2**200}
    assert part["direct"] == {
        "id": part["ids"][0],
        "status": "success",
        "result": {"container": "echo", "output": {"output": data, "echo": True}},
    }


def test_the_client_may_send_no_opinion_about_proofs(seen: Seen) -> None:
    (answer,) = seen["single_jobs"]["without_opinion"]
    assert set(answer) == {"id"}


def test_a_chain_hands_outputs_on_and_shows_them_on_request(seen: Seen) -> None:
    part = seen["single_jobs"]
    first = {"output": {"n": 2}, "echo": True}
    last = {"container": "internal", "output": {"output": first, "echo": True}}
    assert part["chained"]["result"] == last
    assert "intermediate_results" not in part["chained"]
    (in_full,) = part["chained_in_full"]
    assert in_full["result"] == last
    assert in_full["intermediate_results"] == [{"container": "echo", "output": first}]


def test_a_failing_container_fails_the_job(seen: Seen) -> None:
    broken = seen["single_jobs"]["broken"]
    assert broken["status"] == "failed"
    assert broken["result"]["container"] == "broken"
    assert "boom" in broken["result"]["error"]


def test_a_client_lists_its_jobs_and_only_these(seen: Seen) -> None:
    part = seen["single_jobs"]
    assert [each for each in part["all_ids"] if each in part["ids"]] == part["ids"]
    assert part["unknown"] is None


def test_a_batch_answers_in_order_and_refuses_one_by_one(seen: Seen) -> None:
    part = seen["batches"]
    first, refused, last = part["answers"]
    assert refused == {"error": "Container not supported", "params": {"container": "nobody"}}
    outputs = [(each["id"], each["result"]["output"]["output"]) for each in part["results"]]
    assert outputs == [(last["id"], {"n": 3}), (first["id"], {"n": 1})]


def test_pending_and_finished_jobs_are_told_apart(seen: Seen) -> None:
    part = seen["pending"]
    assert part["pending"] == [part["id"]]
    assert part["id"] not in part["finished"]
    assert set(seen["single_jobs"]["ids"]) < set(part["finished"])
    assert part["while_running"] == [{"id": part["id"], "status": "running", "result": None}]
    assert part["result"]["status"] == "success"
    assert part["pending_after"] == []


def test_the_first_thing_of_a_stream_is_the_id_alone(seen: Seen) -> None:
    part = seen["streams"]
    text = "".join(f"chunk-{number}\n" for number in range(6))
    for streamed, stored in zip(part["seen"], part["stored"], strict=True):
        assert UUID.fullmatch(streamed["id"]), "data came together with the id"
        assert streamed["output"] == text
        assert streamed["pieces"] > 1
        assert stored["id"] == streamed["id"]
        assert stored["status"] == "success"
        assert stored["result"] == {"container": "long", "output": {"output": text}}


def test_refusals_reach_the_client_with_their_reason(seen: Seen) -> None:
    unknown = {"error": "Container not supported", "params": {"container": "nobody"}}
    got = seen["refusals"]
    assert (got["status"]["status"], got["status"]["error"]) == (400, "Status is invalid")
    assert {name: got[name] for name in ("job", "stream", "internal", "delegated")} == {
        "job": {"status": 405, **unknown},
        "stream": {"status": 405, **unknown},
        "internal": {
            "status": 405,
            "error": "First container must be external",
            "params": {"first_container": "internal"},
        },
        "delegated": {"status": 405, "error": "Chain not enabled", "params": {}},
    }


def test_a_status_that_the_client_records_is_counted_and_readable(seen: Seen) -> None:
    part = seen["reports"]
    assert [each["status"] for each in part["running"]] == ["running"]
    assert part["counted"]["offchain"] == 1
    assert [each["status"] for each in part["finished"]] == ["success"]
    assert part["finished"][0]["id"] == "my-own-job"
