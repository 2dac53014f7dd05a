"""Pages under load: many of them, many updates, a node and a log that are busy."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import pytest

from tests.support.chromium import Chromium, Watched
from tests.support.client import Api
from tests.support.node import NodeProcess

pytestmark = pytest.mark.xdist_group("chromium live")

CHIP: Final = ".pagehead .chip"
MIB: Final = 2**20
# How long the page did not answer at most, while a number of steps was done; one step for each
# frame that the node would send.
SLOWEST: Final = """async ([steps, data]) => {
  const app = document.querySelector('script[type=module]').src
  const { take } = await import(app.replace('app.js', 'live.js'))
  let slowest = 0
  for (let step = 0; step < steps; step++) {
    const began = performance.now()
    const changed = Array.from({ length: 50 }, (_, n) => ({ ...data,
      id: `${String(step).padStart(8, '0')}-0000-4000-8000-${String(n).padStart(12, '0')}` }))
    take('jobs', { running: step, waiting: 3, changed, more: 0 })
    await new Promise(requestAnimationFrame)
    slowest = Math.max(slowest, performance.now() - began)
  }
  return slowest
}"""


def heap(page: Watched) -> int:
    """Bytes of the page's JavaScript, without what is no longer used."""
    session = page.context.new_cdp_session(page.page)
    session.send("HeapProfiler.collectGarbage")
    used: dict[str, Any] = session.send("Runtime.getHeapUsage")
    session.detach()
    return int(used["usedSize"])


def test_the_memory_of_a_page_does_not_grow(page: Watched, node: NodeProcess) -> None:
    """As with thousands of jobs a second, which come in frames of fifty."""
    api = Api(node.port)
    api.finished([api.submit("echo")])
    job = api.get("/api/history?limit=1").json["items"][0]
    page.open("#/jobs")
    page.wait(f"{CHIP} >> text=Live")
    page.page.evaluate(SLOWEST, [20, job])  # all lists are as long as they may be
    before = heap(page)
    slowest = page.page.evaluate(SLOWEST, [60, job])
    assert heap(page) - before < 5 * MIB
    assert slowest < 2000  # milliseconds; usually 30
    assert page.page.locator("tbody tr").count() == 50


def test_several_pages_follow_the_same_jobs(chromium: Chromium, node: NodeProcess) -> None:
    """All of them get the same frames, and each sees a job end."""
    api = Api(node.port)
    with contextlib.ExitStack() as stack:
        # Each has a context of its own: a browser has six connections to a host for each.
        pages = [stack.enter_context(chromium.page(node.url)) for _ in range(3)]
        for page in pages:
            page.page.goto(f"{node.url}/#/jobs", wait_until="commit")
        for page in pages:
            page.wait(f"{CHIP} >> text=Live", 60_000)
        body = [{"containers": ["echo"], "data": {}}] * 500
        assert api.post(body, "/api/jobs/batch").status == 200
        job = api.submit("echo")
        for page in pages:
            page.wait(f'tr[data-key="{job}"] .chip.ok', 60_000)


def test_a_log_that_grows_fast(page: Watched) -> None:
    """10,000 lines a second: the node sends 200 of them, and how many it left out."""
    page.open("#/containers")
    page.wait("tr >> text=echo")
    slowest = page.page.evaluate(
        """async () => {
          const app = document.querySelector('script[type=module]').src
          const { logView } = await import(app.replace('app.js', 'parts/log.js'))
          const log = logView('echo')
          document.querySelector('main').append(log.node)
          const view = document.querySelector('.log')
          let [slowest, line] = [0, 0]
          for (let second = 0; second < 15; second++) {
            if (second === 13) {
              view.scrollTop = 300
              await new Promise((done) => setTimeout(done, 100))
            }
            const began = performance.now()
            for (let n = 0; n < 200; n++) log.add({ t: 1, s: 'out', l: `line ${line++}` })
            log.add({ dropped: 9800 })
            await new Promise(requestAnimationFrame)
            slowest = Math.max(slowest, performance.now() - began)
          }
          return slowest
        }"""
    )
    assert slowest < 2000  # milliseconds; usually 30
    assert page.page.locator(".log > div").count() <= 2000
    assert "line 2999" in page.text(".log")
    page.wait(".newer >> text=/new lines/")  # it does not move while a person reads
