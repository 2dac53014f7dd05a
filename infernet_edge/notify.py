"""Reports the state of the node to systemd: sd_notify(3), over the socket in $NOTIFY_SOCKET."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import time
from collections.abc import Mapping
from typing import Self

from infernet_edge.logs import log_event
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)


class Notifier:
    """Sends states to systemd; does nothing without a socket. Never blocks."""

    def __init__(self, address: str, watchdog: float | None = None) -> None:
        """`address` is the value of $NOTIFY_SOCKET, "" for none; `watchdog` is in seconds."""
        self._address = address
        self._watchdog = watchdog
        self._pinging: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The notifier that systemd's variables describe."""
        return cls(environment.get("NOTIFY_SOCKET", ""), watchdog_seconds(environment))

    @property
    def is_service(self) -> bool:
        """Whether systemd started this process as a service."""
        return bool(self._address)

    @property
    def watched(self) -> bool:
        """Whether systemd kills this process when its watchdog messages stop."""
        return bool(self._address) and self._watchdog is not None

    def ready(self, status: str) -> None:
        """Report that the API answers, and from now on regularly that this event loop runs."""
        self._send("READY=1", f"STATUS={status}")
        if self.watched and self._pinging is None:
            self._pinging = asyncio.create_task(self._ping_watchdog(), name="watchdog")

    def reloading(self) -> None:
        """Report that the configuration is read again; `ready` ends that."""
        # The time is for Type=notify-reload, since systemd 253; others ignore it.
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=Reloading the configuration")

    def status(self, text: str) -> None:
        """Send one line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def extend(self, seconds: int, status: str) -> None:
        """Ask systemd to wait `seconds` longer for the start; from any thread."""
        self._send(f"EXTEND_TIMEOUT_USEC={seconds * 1_000_000}", f"STATUS={status}")

    def stopping(self) -> None:
        """Report that the node stops. Watchdog messages continue, since a stop may hang, too."""
        self._send("STOPPING=1", "STATUS=Stopping")

    def saved(self, rows: int) -> None:
        """Report how many rows of a damaged database are saved, and ask for another minute."""
        self.extend(60, f"Saving rows of a damaged database: {rows} so far")

    async def close(self) -> None:
        """Stop the watchdog messages."""
        if self._pinging is not None:
            await cancel(self._pinging)
            self._pinging = None

    async def _ping_watchdog(self) -> None:
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
                    logger, "systemd.notify_failed", logging.WARNING, reason=error, state=lines[0]
                )


def watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """The timeout of systemd's watchdog for this process, in seconds; None when there is none.

    WATCHDOG_PID names the watched process. The one-file executable has two: systemd starts the
    bootloader, which starts this one.
    """
    microseconds = environment.get("WATCHDOG_USEC", "")
    watched = environment.get("WATCHDOG_PID", "")
    own = {str(os.getpid())}
    if getattr(sys, "frozen", False):
        own.add(str(os.getppid()))
    if not microseconds.isdecimal() or int(microseconds) == 0 or (watched and watched not in own):
        return None
    return int(microseconds) / 1e6


def _path(address: str) -> str | bytes:
    """A path, or with "@" in front a name in Linux's abstract namespace."""
    return b"\0" + os.fsencode(address[1:]) if address.startswith("@") else address
