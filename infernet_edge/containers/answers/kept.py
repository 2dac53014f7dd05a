"""The last answers of containers about their resources and models, for the time that they sleep."""

from __future__ import annotations

from typing import Final
from weakref import WeakKeyDictionary

from msgspec import Raw

from infernet_edge.containers.service import Service

MAX_MODELS: Final = 64
"""Models of one container about which the last answers are kept."""

MAX_ABOUT_MODEL: Final = 4096
"""Bytes of an answer about a model; longer ones are not kept."""

Fields = dict[str, Raw]


class KeptAnswers:
    """The last answers of the containers that may sleep, by model id; "" is for the resources.

    They are valid while the container has the same image, command and environment.
    """

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Service, tuple[object, dict[str, Fields]]] = (
            WeakKeyDictionary()
        )

    def keep(self, service: Service, model_id: str, fields: Fields, size: int) -> None:
        """Keep an answer of `size` bytes in the place of the one before."""
        if not service.may_sleep or (model_id and size > MAX_ABOUT_MODEL):
            return
        kept = self._of(service)
        kept.pop(model_id, None)
        kept[model_id] = fields
        if len(kept) > MAX_MODELS + 1:
            del kept[next(each for each in kept if each)]

    def find(self, service: Service, model_id: str = "") -> Fields | None:
        """A copy of the last answer; None where there is none."""
        fields = self._of(service).get(model_id)
        return None if fields is None else dict(fields)

    def _of(self, service: Service) -> dict[str, Fields]:
        container = service.container
        source = (container.image, container.command, container.env, container.env_file)
        known = self._kept.get(service)
        if known is None or known[0] != source:
            known = self._kept[service] = (source, {})
        return known[1]
