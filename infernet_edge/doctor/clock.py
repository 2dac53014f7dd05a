"""Does this machine know the date? A Raspberry Pi without network does not."""

from __future__ import annotations

import ctypes
import sqlite3
from datetime import UTC, datetime, timedelta

from infernet_edge import RELEASED
from infernet_edge.config.tree import Config
from infernet_edge.control import NotRunning
from infernet_edge.doctor.case import Case
from infernet_edge.doctor.finding import Finding, ok, problem, warning
from infernet_edge.doctor.resting import InUse, open_resting
from infernet_edge.elapsed import read_latest_wall

NAME = "clock"
_SWITCH_ON = "sudo timedatectl set-ntp true; then look at: timedatectl"
_MUCH = timedelta(hours=1)
_UNSYNCHRONISED = 5  # TIME_ERROR of adjtimex(2)
_LARGE_ENOUGH = 512  # bytes for struct timex, which is 208 on 64-bit machines


async def check(case: Case) -> Finding:
    """Compare the date with that of this version, and ask whether the clock follows a server."""
    now = datetime.now(UTC)
    if now < datetime.fromisoformat(RELEASED).replace(tzinfo=UTC):
        return problem(
            f"the clock says {now:%Y-%m-%d}, but this version was made on {RELEASED}. HTTPS and"
            " subscriptions do not work with a wrong date",
            _SWITCH_ON,
        )
    latest = datetime.fromtimestamp(await _latest(case) / 1000, UTC)
    if latest - now > _MUCH:
        return warning(
            f"it says {now:%Y-%m-%d %H:%M} UTC, and once said {latest:%Y-%m-%d %H:%M}: it is"
            " behind now, or was ahead then. Ids and times of jobs from then are too late",
            _SWITCH_ON,
        )
    # systemd-timesyncd(8) makes the file; others, such as chrony, only tell the kernel.
    if follows_a_server() or (case.root / "run/systemd/timesync/synchronized").exists():
        return ok("it follows a time server")
    return warning(
        f"it says {now:%Y-%m-%d %H:%M} UTC, and does not follow a time server", _SWITCH_ON
    )


async def _latest(case: Case) -> int:
    """The latest time that the node has seen, in milliseconds since 1970; 0 for none."""
    try:
        return int((await case.status())["latest_wall_clock"])
    except NotRunning:
        return await case.blocking(_stored, case.config)


def _stored(config: Config) -> int:
    try:
        with open_resting(config) as connection:
            return 0 if connection is None else read_latest_wall(connection)
    except (InUse, OSError, sqlite3.Error):  # other checks tell of that
        return 0


def follows_a_server() -> bool:
    """What the kernel was told. Asking, with modes of 0, needs no rights (adjtimex(2))."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_LARGE_ENOUGH))
    except (OSError, AttributeError):  # another system, or another C library
        return False
    return bool(0 <= state < _UNSYNCHRONISED)
