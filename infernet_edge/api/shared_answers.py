"""Answers that cost much: requests that overlap share one, and it is kept for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

KEPT_SECONDS: Final = 2.0
MAX_KEPT: Final = 64
"""Answers that are kept, one for each question; the oldest is dropped for another one."""

MAX_KEPT_BYTES: Final = 256 * 2**10
"""Bytes of an answer that is kept; a longer one is shared only while it is made."""


class SharedAnswers:
    """Answers by question. The first request for one makes it; those that follow wait for it."""

    def __init__(self, make: Callable[[str], Awaitable[bytes]]) -> None:
        self._make = make
        self._answers: dict[str, asyncio.Future[bytes]] = {}

    async def get(self, question: str) -> bytes:
        """The answer; it is at most KEPT_SECONDS old."""
        while (answer := self._answers.get(question)) is not None:
            await asyncio.wait((answer,))
            if not answer.cancelled():
                return answer.result()
        return await self._answer(question)

    async def _answer(self, question: str) -> bytes:
        """Make an answer; where that fails, requests that wait for it try themselves."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        self._answers[question] = answer
        try:
            made = await self._make(question)
        except BaseException:
            self._drop(question, answer)
            answer.cancel()
            raise
        answer.set_result(made)
        if len(made) > MAX_KEPT_BYTES:
            self._drop(question, answer)
            return made
        loop.call_later(KEPT_SECONDS, self._drop, question, answer)
        done = [each for each, other in self._answers.items() if other.done()]
        if len(done) > MAX_KEPT:
            del self._answers[done[0]]
        return made

    def _drop(self, question: str, answer: asyncio.Future[bytes]) -> None:
        if self._answers.get(question) is answer:
            del self._answers[question]
