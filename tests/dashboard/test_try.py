"""Try it, jobs and one job in a real browser: what a person does with a node."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.chromium import Watched
from tests.support.client import Api
from tests.support.node import NodeProcess

pytestmark = pytest.mark.xdist_group("chromium try")

BIG = 2**256 - 1


def type_input(page: Watched, text: str) -> None:
    page.open("#/try")
    page.wait('[aria-label="Container of step 1"]')
    page.page.get_by_label("Input as JSON").fill(text)


def choose(page: Watched, container: str) -> None:
    page.page.get_by_label("Container of step 1").select_option(container)


def test_a_job_is_run_and_its_digits_are_kept(page: Watched) -> None:
    type_input(page, f'{{"n": {BIG}}}')
    page.page.keyboard.press("Control+Enter")
    page.wait(".chip >> text=Finished")
    page.wait(f"text={BIG}")
    page.click("text=Open the job")
    page.wait("h2 >> text=Course")
    page.wait("h2 >> text=Input")
    page.until("document.querySelectorAll('.side .json').length == 2")
    assert page.text(".side").count(str(BIG)) == 2  # result and input


def test_a_stream_is_shown_as_it_comes(page: Watched) -> None:
    type_input(page, "{}")
    page.click("button >> text=Stream")
    page.wait("text=chunk-3")
    page.wait(".chip >> text=Finished")
    text = page.text("section[aria-label=Result] pre")
    assert [line for line in text.split("\n") if line] == [f"chunk-{n}" for n in range(20)]
    assert "took" in page.text("section[aria-label=Result]")


def test_a_running_job_is_cancelled(page: Watched) -> None:
    type_input(page, '{"sleep": 60}')
    choose(page, "slow")
    page.click("button >> text=Run")
    page.wait(".chip >> text=Running")
    page.click("button >> text=Cancel")
    page.wait(".chip >> text=Cancelled")
    page.click("text=Open the job")
    page.wait(".side .error")
    assert "Cancelled by the client" in page.text(".side .error")


def test_a_failure_is_shown_with_its_reason_and_run_again(page: Watched) -> None:
    type_input(page, '{"x": 1}')
    choose(page, "broken")
    page.click("button >> text=Run")
    page.wait(".error")
    assert "boom" in page.text(".error")
    page.click("text=Open the job")
    page.wait("button >> text=Run again")
    before = page.page.url
    page.click("button >> text=Run again")
    page.until(f"location.href != {json.dumps(before)}")
    page.wait(".side .error")
    page.click("button >> text=Edit and run")
    page.wait("h1 >> text=Try it")
    assert page.page.get_by_label("Input as JSON").input_value() == '{"x": 1}'


def test_a_chain_runs_in_order(page: Watched) -> None:
    type_input(page, '{"y": 2}')
    page.click("text=+ step")
    page.page.get_by_label("Container of step 2").select_option("echo")
    page.click("button >> text=Run")
    page.wait(".chip >> text=Finished")
    page.click("text=Open the job")
    page.wait("summary >> text=1. echo")
    page.click("summary >> text=1. echo")
    page.wait("details .json >> text=output")


def test_a_mistake_in_the_input_is_named_and_nothing_is_sent(page: Watched) -> None:
    type_input(page, "{}")
    mistakes = {'{"a": }': "Line 1", "[1]": "object", "": "JSON", "{}\n{": "Line 2"}
    for text, problem in mistakes.items():
        page.page.get_by_label("Input as JSON").fill(text)
        page.click("button >> text=Run")
        page.wait(f".invalid >> text={problem}")
    assert not re.search("/api/jobs$", "\n".join(page.requests), re.MULTILINE)


def test_the_last_inputs_are_kept_and_forgotten(page: Watched) -> None:
    type_input(page, '{"first": 1}')
    page.click("button >> text=Run")
    page.wait(".chip >> text=Finished")
    page.page.reload()
    page.page.get_by_label("My last inputs").select_option("0")
    assert page.page.get_by_label("Input as JSON").input_value() == '{"first": 1}'
    page.page.get_by_label("My last inputs").select_option("clear")
    page.page.get_by_label("My last inputs").wait_for(state="hidden")
    assert page.page.evaluate("localStorage.getItem('infernet.last')") is None


def test_how_long_a_job_waits(page: Watched, node: NodeProcess) -> None:
    api = Api(node.port)
    api.finished([api.submit("slow", {"sleep": 4})])  # the typical time
    jobs = [api.submit("slow", {"sleep": 60}) for _ in range(9)]  # of which 8 run
    type_input(page, '{"sleep": 60}')
    choose(page, "slow")
    page.click("button >> text=Run")
    page.wait("section[aria-label=Result] >> text=/^2nd in line, about [0-9.]+ s$/")
    page.live("node.overview.containers.forEach((one) => { one.hour.p50_ms = null })")
    for job in jobs[:1] + jobs[8:]:
        api.request("DELETE", f"/api/jobs/{job}")
    page.click("button >> text=Cancel")
    for job in jobs[1:8]:
        api.request("DELETE", f"/api/jobs/{job}")
    api.finished(jobs)
