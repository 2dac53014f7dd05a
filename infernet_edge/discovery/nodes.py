"""The other nodes: those that are found in the network, and those that the configuration lists.

Nothing happens while no client asks; an answer is used for 30 seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final

from infernet_edge.clock import milliseconds
from infernet_edge.discovery.announcer import Announcer
from infernet_edge.discovery.browser import MAX_FOUND, browse
from infernet_edge.discovery.fetching import Answered, ask_node, make_client
from infernet_edge.discovery.forms import NodeList, OtherNode
from infernet_edge.discovery.messages import Name, folded
from infernet_edge.discovery.service import FoundNode
from infernet_edge.hardware.network import own_addresses
from infernet_edge.http_client.client import HttpClient
from infernet_edge.tasks import cancel

_KEEP_SECONDS = 30.0  # for which an answer is used
_BROWSE_TIME = 1.5  # seconds for answers of the network
_ASKING_TIME = 5.0  # seconds for all nodes together
_AT_ONCE = 16  # nodes that are asked at the same time
_FORGET_SECONDS = 3600.0  # after which a node that is not found any more is left out
_HERE: Final = "it runs on this machine, whose own ports the node does not call"


class NodeDirectory:
    """Finds other nodes and asks them, when a client wants to know."""

    def __init__(
        self,
        announcer: Announcer | None,
        listed: Sequence[str],
        off: str,
    ) -> None:
        """`listed` are URLs; `off` says why nothing is looked for in the network, or is ""."""
        self._http = make_client()
        self._announcer = announcer
        self._listed = [url.rstrip("/") for url in listed]
        self._off = off
        self._known: NodeList | None = None
        self._as_of = 0.0
        self._work: asyncio.Task[NodeList] | None = None
        self._seen: dict[str, tuple[FoundNode, float]] = {}  # by URL; when it was found last
        self._answered: dict[str, int] = {}  # when each answered last

    async def read(self) -> NodeList:
        """The other nodes; of a moment ago, or found now, which takes up to 7 seconds."""
        if self._known is not None and self._now() - self._as_of < _KEEP_SECONDS:
            return self._known
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._find())
        return await asyncio.shield(self._work)

    async def close(self) -> None:
        """Stop looking."""
        if self._work is not None:
            await cancel(self._work)
        await self._http.close()

    async def _find(self) -> NodeList:
        found: list[FoundNode] = []
        problem = self._off
        if self._announcer is not None:
            problem = self._announcer.problem
            collector = await browse(self._announcer.sockets, _BROWSE_TIME)
            own = await asyncio.to_thread(own_addresses)
            found = without(collector.found(own), self._announcer.responder.host)
        nodes = self._remembered(found)
        asked = {url for url, node in nodes.items() if not node.on_this_machine}
        answers = await ask_all(self._http, [*asked, *self._listed])
        now = milliseconds()
        self._answered |= {url: now for url, each in answers.items() if _spoke(each)}
        items = [self._item(node, url, answers) for url, node in nodes.items()]
        items += [_listed_item(url, answers[url], self._answered.get(url)) for url in self._listed]
        items.sort(key=lambda item: (item.name, item.url))
        self._known = NodeList(items[:MAX_FOUND], problem)
        self._as_of = self._now()
        kept = {item.url for item in self._known.items}
        self._answered = {url: at for url, at in self._answered.items() if url in kept}
        return self._known

    def _remembered(self, found: Sequence[FoundNode]) -> Mapping[str, FoundNode]:
        """Those of now, and those that were there an hour ago, by the URL to ask."""
        now = self._now()
        for node in found:
            for url in node.urls[:1]:
                self._seen.pop(url, None)
                self._seen[url] = node, now
        names = {node.name: node.urls[0] for node in found if node.urls}
        self._seen = {
            url: (node, at)
            for url, (node, at) in list(self._seen.items())[-MAX_FOUND:]
            # One that got another address is not listed twice.
            if now - at < _FORGET_SECONDS and names.get(node.name, url) == url
        }
        return {url: node for url, (node, _) in self._seen.items() if url not in self._listed}

    def _item(self, node: FoundNode, url: str, answers: Mapping[str, Answered]) -> OtherNode:
        answer = answers.get(url, Answered("unknown", reason=_HERE))
        return made_item(node, url, answer, self._answered.get(url))

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def without(found: Sequence[FoundNode], host: Name) -> list[FoundNode]:
    """Those that are not the node of this host."""
    return [node for node in found if folded(node.host) != folded(host)]


async def ask_all(http: HttpClient, urls: Sequence[str]) -> dict[str, Answered]:
    """What each of the nodes at these URLs answers, within 5 seconds; 64 URLs at most."""
    permits = asyncio.Semaphore(_AT_ONCE)
    answers = {url: Answered("unreachable", reason="timed out") for url in urls[:MAX_FOUND]}

    async def ask(url: str) -> None:
        async with permits:
            answers[url] = await ask_node(http, url)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_ASKING_TIME), asyncio.TaskGroup() as group:
            for url in answers:
                group.create_task(ask(url))
    return answers


def made_item(node: FoundNode, url: str, answer: Answered, seen_at: int | None) -> OtherNode:
    """A node that was found, with what it answered."""
    return OtherNode(
        name=node.name,
        url=url,
        version=answer.version or node.version,
        health=answer.health,
        containers=list(node.containers if answer.containers is None else answer.containers),
        pending=answer.pending,
        seen_at=seen_at,
        id=node.identifier,
        reason=answer.reason,
        protected=node.protected,
    )


def _listed_item(url: str, answer: Answered, seen_at: int | None) -> OtherNode:
    return OtherNode(
        name=url.partition("://")[2],
        url=url,
        version=answer.version,
        health=answer.health,
        containers=answer.containers or [],
        pending=answer.pending,
        seen_at=seen_at,
        reason=answer.reason,
        protected=answer.reason == "it needs a token",
        listed=True,
    )


def _spoke(answer: Answered) -> bool:
    return answer.health in ("healthy", "unhealthy")
