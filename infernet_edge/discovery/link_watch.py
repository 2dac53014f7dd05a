"""Notices when networks and addresses of this machine change, by the kernel's messages."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Final

# RTMGRP_LINK, RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR of linux/rtnetlink.h.
_GROUPS: Final = 0x1 | 0x10 | 0x100
_MAX_MESSAGES = 64 * 2**10  # bytes that are read at once; what is in them does not matter


class LinkWatch:
    """Calls `on_change` at each message of the kernel about networks; they are not read."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._socket: socket.socket | None = None

    def open(self) -> bool:
        """Start; False when a sandbox does not allow it."""
        try:
            opened = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
            )
        except OSError:
            return False
        try:
            opened.bind((0, _GROUPS))
        except OSError:
            opened.close()
            return False
        self._socket = opened
        asyncio.get_running_loop().add_reader(opened, self._read)
        return True

    def close(self) -> None:
        """Stop."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _read(self) -> None:
        if self._socket is None:
            return
        try:
            os.read(self._socket.fileno(), _MAX_MESSAGES)
        except BlockingIOError:
            return
        except OSError:  # there were more messages than the kernel keeps: something changed
            pass
        self._on_change()
