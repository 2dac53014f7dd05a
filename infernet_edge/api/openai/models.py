"""The models of all containers, by the names that requests use.

A model is named `container/model`, and also `model` where only one container has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from infernet_edge.api.access.admission import Caller
from infernet_edge.api.openai.errors import NoSuchModel
from infernet_edge.api.shared_answers import SharedAnswers
from infernet_edge.containers.resources import Resources
from infernet_edge.containers.service import Service
from infernet_edge.errors import Unavailable
from infernet_edge.events.public_text import public
from infernet_edge.jobs.guardian import Guardian

_MAX_SHOWN: Final = 20  # names in an error
_MAX_NAME: Final = 200  # characters of a client's name in an error


class Offer(NamedTuple):
    """A model of a container."""

    service: Service
    model: str

    @property
    def full_name(self) -> str:
        """The name that no other model has: container ids have no slash."""
        return f"{self.service.id}/{self.model}"


class Models:
    """Finds models by their names."""

    def __init__(
        self, services: Mapping[str, Service], guardian: Guardian, resources: Resources
    ) -> None:
        self._services = services
        self._guardian = guardian
        self._resources = resources
        self._lists = SharedAnswers(self._ask)  # once for requests that follow soon

    async def find(self, name: str, caller: Caller) -> Offer:
        """The model with this name, among those that the caller may use.

        Raises NoSuchModel with the names that exist; Unavailable while a server has not listed its
        models yet.
        """
        if found := _by_name(self._offers(caller)).get(name):
            return found
        await self._lists.get("")
        offers = self._offers(caller)
        if found := _by_name(offers).get(name) or self._not_listed_model(name, caller):
            return found
        shown = name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"
        if several := [offer.full_name for offer in offers if offer.model == name]:
            raise NoSuchModel(
                f'The model "{shown}" is in several containers: expected {_listed(several, " or ")}'
            )
        if silent := [each for each in self._not_listed(caller) if not each.is_up]:
            reasons = "; ".join(f"{each.id}: {public(each.reason)}" for each in silent[:_MAX_SHOWN])
            raise Unavailable(
                f'The model "{shown}" is not known: containers have not listed theirs ({reasons});'
                f' a full name such as "{silent[0].id}/{shown}" is accepted now'
            )
        if not offers:
            raise NoSuchModel(f'There is no model "{shown}": no container that you may use has one')
        names = _listed([each for each, _ in _listing(offers)], ", ")
        raise NoSuchModel(f'There is no model "{shown}": expected one of {names}')

    async def listing(self, caller: Caller) -> list[dict[str, Any]]:
        """All models that the caller may use, as OpenAI's objects; `created` in seconds."""
        await self._lists.get("")
        return [described(name, offer) for name, offer in _listing(self._offers(caller))]

    def _offers(self, caller: Caller) -> list[Offer]:
        return [
            Offer(service, model)
            for service in self._usable(caller)
            for model in dict.fromkeys(service.model_ids)
        ]

    def _usable(self, caller: Caller) -> list[Service]:
        may_use = self._guardian.may_use
        return [each for each in self._services.values() if may_use(each.id, caller.address)]

    def _not_listed(self, caller: Caller) -> list[Service]:
        """The servers that list their models, and have not done so yet."""
        usable = self._usable(caller)
        return [each for each in usable if each.protocol.NAMES_MODELS and not each.model_ids]

    def _not_listed_model(self, name: str, caller: Caller) -> Offer | None:
        """A full name of a model of such a server: it is asked whether it has it."""
        container, _, model = name.partition("/")
        found = (each for each in self._not_listed(caller) if each.id == container and model)
        return next((Offer(each, model) for each in found), None)

    async def _ask(self, _: str = "") -> bytes:
        """Ask servers for their lists of models."""
        await self._resources.read_models()
        return b""


def described(name: str, offer: Offer) -> dict[str, Any]:
    """The model as OpenAI's object."""
    created, container = offer.service.since // 1000, offer.service.id
    return {"id": name, "object": "model", "created": created, "owned_by": container}


def _by_name(offers: list[Offer]) -> dict[str, Offer]:
    """The full names, and each model that only one container has."""
    times = Counter(offer.model for offer in offers)
    short = {offer.model: offer for offer in offers if times[offer.model] == 1}
    return short | {offer.full_name: offer for offer in offers}


def _listing(offers: list[Offer]) -> list[tuple[str, Offer]]:
    """Each model once, by the shortest name that means it."""
    names = _by_name(offers)
    return [
        (offer.model if names.get(offer.model) == offer else offer.full_name, offer)
        for offer in offers
    ]


def _listed(names: list[str], joint: str) -> str:
    shown = joint.join(f'"{name}"' for name in names[:_MAX_SHOWN])
    more = len(names) - _MAX_SHOWN
    return f"{shown} and {more} more (GET /v1/models)" if more > 0 else shown
