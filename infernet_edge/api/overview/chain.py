"""What the overview and its endpoints need of the chain; it is imported only when it is on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from infernet_edge.schema import ChainSummary


class ChainCondition(Protocol):
    """Something that prevents deliveries: its kind, its text, and what it is about."""

    @property
    def kind(self) -> str: ...

    @property
    def text(self) -> str: ...

    @property
    def subject(self) -> str: ...


class ChainView(Protocol):
    """The chain, for those who look at it."""

    def conditions(self) -> Sequence[ChainCondition]:
        """What prevents deliveries, as far as is known without asking the chain."""

    async def subscription_page(
        self, limit: int, before: int | None, state: str
    ) -> list[dict[str, Any]]:
        """Subscriptions of contracts, newest first; `state` is "served", "skipped" or "" for all.

        `before`: only smaller ids. Raises StorageError.
        """

    async def delivery_page(self, limit: int, before: int | None) -> list[dict[str, Any]]:
        """Deliveries, newest first; `before`: only smaller numbers. Raises StorageError."""

    async def summary(self) -> ChainSummary | None:
        """Its state in short; None before its start. Takes some seconds at most."""
