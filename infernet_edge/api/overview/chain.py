"""What the overview and its endpoints need of the chain; it is imported only when it is on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


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

    async def summary(self) -> dict[str, Any] | None:
        """Its state in short; None before its start. Takes some seconds at most."""
