"""Tells systemd how the node is: sd_notify(3), over the socket that $NOTIFY_SOCKET names."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Mapping
from typing import Self

from infernet_edge.logs import log_event
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)


class Notifier:
    """Sends states to systemd; does nothing where nobody listens. Never blocks."""

    def __init__(self, address: str, watchdog: float | None = None) -> None:
        """`address` is that of $NOTIFY_SOCKET, "" for none; `watchdog` in seconds."""
        self._address = address
        self._watchdog = watchdog
        self._feeding: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The notifier that systemd's variables describe."""
        return cls(environment.get("NOTIFY_SOCKET", ""), watchdog_seconds(environment))

    @property
    def is_service(self) -> bool:
        """Whether systemd started this process as a service, and not a person."""
        return bool(self._address)

    @property
    def watched(self) -> bool:
        """Whether systemd ends this process when it is not heard from."""
        return bool(self._address) and self._watchdog is not None

    def ready(self, status: str) -> None:
        """Say that the API answers, and from now on, from this event loop, that the loop turns."""
        self._send("READY=1", f"STATUS={status}")
        if self.watched and self._feeding is None:
            self._feeding = asyncio.create_task(self._feed(), name="watchdog")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def extend(self, seconds: int, status: str) -> None:
        """Ask systemd to wait so much longer for the start; from any thread."""
        self._send(f"EXTEND_TIMEOUT_USEC={seconds * 1_000_000}", f"STATUS={status}")

    def stopping(self) -> None:
        """Say that the node is about to end. The watchdog is fed on: stopping may hang too."""
        self._send("STOPPING=1", "STATUS=Stopping")

    def saved(self, rows: int) -> None:
        """Say how many rows of a damaged database are saved, and take another minute."""
        self.extend(60, f"Saving rows of a damaged database: {rows} so far")

    async def close(self) -> None:
        """Feed the watchdog no more."""
        if self._feeding is not None:
            await cancel(self._feeding)
            self._feeding = None

    async def _feed(self) -> None:
        # Half of the time, as sd_watchdog_enabled(3) recommends.
        pause = (self._watchdog or 0) / 2
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep(pause)

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        message = "\n".join(line.replace("\n", " ") for line in lines)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(message.encode("utf-8", "replace"), _path(self._address))
            except OSError as error:
                log_event(
                    logger, "systemd.unreachable", logging.WARNING, reason=error, state=lines[0]
                )


def watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """Within how many seconds systemd wants to hear of this process again; None: it does not.

    WATCHDOG_PID names the process that is meant. The one-file executable is two: systemd started
    the first, which unpacks the second, which is us.
    """
    microseconds = environment.get("WATCHDOG_USEC", "")
    meant = environment.get("WATCHDOG_PID", "")
    ours = {str(os.getpid())}
    if getattr(sys, "frozen", False):
        ours.add(str(os.getppid()))
    if not microseconds.isdecimal() or int(microseconds) == 0 or (meant and meant not in ours):
        return None
    return int(microseconds) / 1e6


def _path(address: str) -> str | bytes:
    """A path, or with "@" in front a name in Linux's abstract namespace."""
    return b"\0" + os.fsencode(address[1:]) if address.startswith("@") else address
