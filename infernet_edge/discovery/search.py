"""Looks for nodes once, without a running node; and says why none may be found."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from infernet_edge.discovery.browser import Collector, browse
from infernet_edge.discovery.fetching import Answered, make_client
from infernet_edge.discovery.forms import NodeList
from infernet_edge.discovery.nodes import ask_all, made_item
from infernet_edge.discovery.service import FoundNode
from infernet_edge.discovery.sockets import SocketSet
from infernet_edge.hardware.network import Link, links, own_addresses

NO_NETWORK: Final = "this machine is in no network with other machines"


async def search(seconds: float) -> NodeList:
    """Find the nodes of all networks of this machine within some seconds, and ask each."""
    collector, problem = await look(await asyncio.to_thread(links, "::", both=True), seconds)
    found = collector.found(await asyncio.to_thread(own_addresses))
    urls = {url: node for node in found for url in node.urls[:1]}
    async with make_client() as http:
        answers = await ask_all(http, [url for url in urls if may_ask(urls[url])])
    items = [
        made_item(node, url, answers.get(url, Answered("unknown", reason="not asked")), None)
        for url, node in urls.items()
    ]
    return NodeList(sorted(items, key=lambda item: (item.name, item.url)), problem)


def may_ask(node: FoundNode) -> bool:
    """Whether to call a node that was found.

    One on this machine only by IPv4: there the kernel drops packets of other machines that have an
    address of this one as their source, so that it is really here.
    """
    return not node.on_this_machine or "[" not in node.urls[0]


async def look(networks: Sequence[Link], seconds: float) -> tuple[Collector, str]:
    """What is answered within some seconds, and what is wrong with these networks, or ""."""
    if not networks:
        return Collector(), NO_NETWORK
    sockets = SocketSet()
    try:
        _, problems = sockets.update(networks)
        collector = await browse(sockets, seconds)
        problems += sockets.failures
        if not problems and (deaf := sockets.deaf):
            problems.append(
                f"{', '.join(deaf)}: not even the packets of this command come back, so a firewall"
                " drops UDP port 5353"
            )
    finally:
        sockets.close()
    return collector, "; ".join(problems)
