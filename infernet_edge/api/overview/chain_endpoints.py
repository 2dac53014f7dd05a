"""GET /api/chain, /api/chain/subscriptions and /api/chain/deliveries."""

from __future__ import annotations

import re
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from infernet_edge.api.access.admission import Caller
from infernet_edge.api.endpoints.paging import Parameters, limit_of, next_link
from infernet_edge.api.json_io import Answer, query
from infernet_edge.api.overview.chain import ChainView
from infernet_edge.errors import BadRequest, NotFound, Unavailable
from infernet_edge.events.public_text import public

MAX_PAGE: Final = 500
"""Subscriptions or deliveries in one answer."""

STATES: Final = ("served", "skipped")
"""Which subscriptions `state` selects."""

_USUAL_PAGE: Final = 50
_MAX_PARAMETERS: Final = 20
_NUMBER: Final = re.compile("[0-9]{1,18}")


class ChainEndpoint:
    """The state of the chain."""

    methods = ("GET", "HEAD")

    def __init__(self, chain: ChainView | None) -> None:
        self._chain = chain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        summary = await _enabled(self._chain).summary()
        if summary is None:
            raise Unavailable("The chain is being started", retry_after=1)
        await Answer(summary)(scope, receive, send)


class SubscriptionsEndpoint:
    """The subscriptions of contracts: what the node serves, and why it does not serve others."""

    methods = ("GET", "HEAD")

    def __init__(self, chain: ChainView | None) -> None:
        self._chain = chain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        chain = _enabled(self._chain)
        parameters = query(scope, _MAX_PARAMETERS)
        limit = limit_of(parameters, _USUAL_PAGE, MAX_PAGE)
        state = parameters.get("state", [""])[-1]
        if state and state not in STATES:
            raise BadRequest(f"state: expected one of {', '.join(STATES)}", {"field": "state"})
        items = await chain.subscription_page(limit + 1, _before(parameters), state)
        if not scope["caller"].is_operator:
            items = [each | {"reason": public(each["reason"])} for each in items]
        await _page(scope, parameters, items, limit, "id")(scope, receive, send)


class DeliveriesEndpoint:
    """The answers to subscriptions, with their transactions."""

    methods = ("GET", "HEAD")

    def __init__(self, chain: ChainView | None) -> None:
        self._chain = chain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        chain = _enabled(self._chain)
        parameters = query(scope, _MAX_PARAMETERS)
        limit = limit_of(parameters, _USUAL_PAGE, MAX_PAGE)
        caller: Caller = scope["caller"]
        items = await chain.delivery_page(limit + 1, _before(parameters))
        shown = [each if caller.owns(each["client"]) else _for_others(each) for each in items]
        await _page(scope, parameters, shown, limit, "number")(scope, receive, send)


def _for_others(delivery: dict[str, Any]) -> dict[str, Any]:
    """A delivery as callers see it who are no operators, and whose request it does not answer.

    What a container said of a request is for the client of that; a subscription has none.
    """
    reason = "" if delivery["client"] else public(delivery["reason"])
    return delivery | {"client": None, "reason": reason}


def _enabled(chain: ChainView | None) -> ChainView:
    if chain is None:
        raise NotFound("The chain is off; chain.enabled = true switches it on")
    return chain


def _before(parameters: Parameters) -> int | None:
    text = parameters.get("before", [""])[-1]
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        raise BadRequest("before: expected `next` of an earlier answer", {"field": "before"})
    return int(text)


def _page(
    scope: Scope, parameters: Parameters, items: list[dict[str, Any]], limit: int, key: str
) -> Answer:
    """The answer with at most `limit` of the items; one more shows that there is a next page."""
    following = str(items[limit - 1][key]) if len(items) > limit else None
    answer = Answer({"items": items[:limit], "next": following})
    if following is not None:
        answer.headers.append(next_link(scope["path"], parameters, following))
    return answer
