"""Containers that the node manages, in a real browser and with real Podman."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tests.support.chromium import Chromium, Watched
from tests.support.client import Api
from tests.support.node import NodeProcess
from tests.support.operating import managed
from tests.support.podman import IsolatedPodman, Registry, need

LOG: Final = "document.querySelector('.log')"
TOKEN: Final = "anna-0123456789abcdef"
MARKUP: Final = "<img src=x onerror=alert(1)>\x1b[31m \u202ered"


def last_line(page: Watched) -> str:
    return str(page.page.locator(".log > div").last.inner_text())


def test_a_container_its_log_and_a_restart(
    chromium: Chromium, podman: IsolatedPodman, tmp_path: Path
) -> None:
    config: dict[str, Any] = managed(podman, {"id": "echo", "image": podman.echo_image()})
    config["server"] = {"tokens": {"anna": {"token": TOKEN, "scope": "operator"}}}
    with NodeProcess(config, tmp_path) as node, chromium.page(node.url) as page:
        api = Api(node.port, headers={"authorization": f"Bearer {TOKEN}"})
        page.open(f"#token={TOKEN}")
        page.go("#/containers")
        page.wait("tr .chip.ok", 40_000)
        page.click("tr >> text=echo")
        page.wait(".side .log")
        page.wait(".side >> text=Image")

        api.finished([api.submit("echo", {"print": f"~{MARKUP}"})])
        page.wait(".log >> text=onerror")
        assert page.page.locator(".log img").count() == 0
        assert "\\u202ered" in page.text(".log")  # what reorders text is visible
        assert "[31m" not in page.text(".log")  # what gives orders to a terminal is not
        page.page.get_by_label("Find in the log").fill("onerror")
        page.wait(".log mark")

        lines = [api.submit("echo", {"print": f"~line {number}"}) for number in range(120)]
        api.finished(lines)
        page.until("document.querySelector('.log').textContent.includes('line 119')")
        page.until(f"({LOG}).scrollHeight - ({LOG}).scrollTop - ({LOG}).clientHeight < 40")
        page.page.evaluate("document.querySelector('.log').scrollTop = 100")
        page.page.wait_for_timeout(100)
        api.finished([api.submit("echo", {"print": "~the newest"})])
        page.wait(".newer >> text=/new line/")
        assert page.page.evaluate("document.querySelector('.log').scrollTop") == 100
        page.click(".newer")
        assert page.page.evaluate("document.querySelector('.log').scrollTop") > 100

        page.click(".side button >> text=Restart")
        page.wait("dialog >> text=Restart echo?")
        assert page.page.evaluate("document.activeElement.innerText") == "Do not"
        page.page.keyboard.press("Escape")
        assert api.get("/api/containers").json["items"][0]["restarts"] == 0
        page.click(".side button >> text=Restart")
        page.click("dialog >> text=/^Restart$/")
        page.wait(".toast >> text=echo is starting")
        page.wait("tr .chip.ok", 40_000)
        page.until(
            "[...document.querySelectorAll('.side dl div')].some((e) =>"
            " /^Restarts\\s+1/.test(e.innerText))",
            40,
        )
        api.finished([api.submit("echo", {"print": "~after the restart"})])
        page.wait(".log >> text=after the restart", 20_000)  # the log goes on


def test_one_that_is_asleep_is_started_without_a_question(
    chromium: Chromium, podman: IsolatedPodman, tmp_path: Path
) -> None:
    image = podman.echo_image()
    echo, other = {"id": "echo", "image": image, "start": "on_demand"}, {"id": "b", "image": image}
    config: dict[str, Any] = managed(podman, echo, other)
    config["server"] = {"tokens": {"anna": {"token": TOKEN, "scope": "operator"}}}
    # 503: it has no log before its first start.
    with NodeProcess(config, tmp_path) as node, chromium.page(node.url, ("503",)) as page:
        api = Api(node.port, headers={"authorization": f"Bearer {TOKEN}"})
        page.open(f"#token={TOKEN}")
        page.go("#/containers/echo")
        page.wait("tr .chip.ok", 40_000)  # so containers can be started
        page.wait(".side .chip >> text=Asleep")
        page.click(".side button >> text=/^Start$/")
        page.wait(".toast >> text=echo is starting")
        page.wait(".side .chip.ok", 40_000)
        # From now on there may be jobs, whatever the page has shown before.
        page.click(".side button >> text=/^Restart$/")
        page.wait("dialog >> text=Jobs that run there will be started again.")
        page.click("dialog >> text=Do not")
        api.submit("echo", {"sleep": 30})
        page.wait(".side >> text=1 of", 20_000)
        page.click(".side button >> text=/^Restart$/")
        page.wait("dialog >> text=1 running job will be started again.")
        page.click("dialog >> text=Do not")


def publish(podman: IsolatedPodman, registry: Registry, folder: Path, version: str) -> str:
    """Push a version of an image; returns its name."""
    name = f"{registry.address}/team/shown:1"
    recipe = folder / "Containerfile"
    recipe.write_text(f"FROM {podman.echo_image()}\nENV VERSION={version}\n")
    podman.run("build", "--pull=never", "--tag", f"{name}-new", "--file", str(recipe), str(folder))
    login = f"--creds={registry.username}:{registry.password}"
    podman.run("push", "--tls-verify=false", login, f"{name}-new", name)
    podman.run("rmi", f"{name}-new")
    return name


def test_a_newer_image_is_pulled_and_used(
    chromium: Chromium, podman: IsolatedPodman, tmp_path: Path
) -> None:
    need("docker-registry")
    with Registry(tmp_path) as registry:
        podman.allow_insecure_registry(registry.port)
        name = publish(podman, registry, tmp_path, "1")
        config: dict[str, Any] = managed(podman, {"id": "echo", "image": name})
        user = {"username": registry.username, "password": registry.password}
        config["docker"] = {"registry": registry.address, **user}
        config["server"] = {"tokens": {"anna": {"token": TOKEN, "scope": "operator"}}}
        # 503: its log, while it is replaced.
        with (
            NodeProcess(config, tmp_path / "node") as node,
            chromium.page(node.url, ("503",)) as page,
        ):
            api = Api(node.port, headers={"authorization": f"Bearer {TOKEN}"})
            page.open(f"#token={TOKEN}")
            page.go("#/containers/echo")
            page.wait(".side .chip.ok", 40_000)
            publish(podman, registry, tmp_path, "2")
            page.click(".side button >> text=Pull")
            page.wait(".toast >> text=Pulling the image of echo")
            page.wait(".side >> text=A new image is there. A restart uses it.", 40_000)
            page.click(".side >> text=Restart with the new image")
            page.click("dialog >> text=/^Restart$/")
            page.page.locator(".side >> text=A new image is there").wait_for(
                state="hidden", timeout=40_000
            )
            page.wait(".side .chip.ok", 40_000)
            (shown,) = api.finished([api.submit("echo", {"show": True})])
            assert shown["result"]["output"]["environment"]["VERSION"] == "2"


def test_the_progress_of_a_pull_and_its_failure_are_shown(
    chromium: Chromium, node: NodeProcess
) -> None:
    """Answers in place of a slow registry."""
    with chromium.page(node.url, ("Failed to load",)) as page:
        api = Api(node.port)
        overview = api.get("/api/overview").json
        overview["me"]["scope"] = "operator"
        page.answer("**/api/overview", json=overview)
        page.answer("**/api/containers/*/logs*", status=404, json={"error": "no log"})
        item = api.get("/api/containers").json["items"][0]
        item |= {"managed": True, "state": "ready", "image": "registry.example/x:1"}
        item["pull"] = {"bytes": 2_500_000, "of": None}
        page.answer("**/api/containers", json={"items": [item]})
        page.open(f"#/containers/{item['id']}")
        page.wait(".side >> text=/Pulling its image: 2.4 MiB$/")
        page.wait("tr >> text=pulling its image: 2.4 MiB")
        assert page.page.locator(".side button >> text=Pull").is_disabled()
        page.page.unroute("**/api/containers")
        item["pull"] = {"bytes": 270_000_000, "of": 429_916_160}
        page.answer("**/api/containers", json={"items": [item]})
        page.event("containers", {"changed": []})
        page.wait("tr >> text=pulling its image: 62 % of 410 MiB", 15_000)
        page.page.unroute("**/api/containers")
        item |= {"pull": None, "pull_error": "unauthorized: <b>sign in</b>"}
        page.answer("**/api/containers", json={"items": [item]})
        page.event("containers", {"changed": []})
        page.wait(".side .error >> text=unauthorized: <b>sign in</b>", 15_000)
        assert page.page.locator(".side button >> text=Pull").is_enabled()
