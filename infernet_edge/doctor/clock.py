"""Is the date right? On a Raspberry Pi without network it is not."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from datetime import UTC, datetime, timedelta

from infernet_edge import RELEASED
from infernet_edge.clock import follows_a_server
from infernet_edge.config.model import Config
from infernet_edge.control.client import NotRunning
from infernet_edge.doctor.commands import as_root, install_package
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, ok, problem, warning
from infernet_edge.doctor.offline_database import InUse, open_offline
from infernet_edge.storage.elapsed import read_latest_wall

NAME = "clock"
NEEDS = ()

_MUCH = timedelta(hours=1)
_TIMEOUT = 10.0  # seconds


async def check(case: Case) -> Finding:
    """Compare the date with that of this version, and check whether the clock follows a server."""
    now = datetime.now(UTC)
    # systemd-timesyncd(8) makes the file; others, such as chrony, only set the state of the kernel.
    follows = follows_a_server() or (case.root / "run/systemd/timesync/synchronized").exists()
    finding = warning
    if now < datetime.fromisoformat(RELEASED).replace(tzinfo=UTC):
        finding = problem
        text = (
            f"the date is {now:%Y-%m-%d}, but this version was made on {RELEASED}. HTTPS and"
            " subscriptions do not work with a wrong date"
        )
    elif (latest := datetime.fromtimestamp(await _latest(case) / 1000, UTC)) - now > _MUCH:
        text = (
            f"it shows {now:%Y-%m-%d %H:%M} UTC, and showed {latest:%Y-%m-%d %H:%M} before: it is"
            " behind now, or was ahead then. Ids and times of jobs from that time are too late"
        )
    elif follows:
        return ok("it follows a time server")
    else:
        text = f"it shows {now:%Y-%m-%d %H:%M} UTC, and does not follow a time server"
    remedy, command = (_FOLLOWS, "") if follows else await case.blocking(_how_to_follow)
    return finding(text, remedy, command=command)


async def _latest(case: Case) -> int:
    """The latest time that the node has seen, in milliseconds since 1970; 0 for none."""
    try:
        return int((await case.status())["latest_wall_clock"])
    except NotRunning:
        return await case.blocking(_stored, case.config)


def _stored(config: Config) -> int:
    try:
        with open_offline(config) as connection:
            return 0 if connection is None else read_latest_wall(connection)
    except (InUse, OSError, sqlite3.Error):  # other checks report that
        return 0


def _how_to_follow() -> tuple[str, str]:
    """What to do, as text and as a command, by the state of systemd-timedated. Blocks."""
    program = shutil.which("timedatectl")
    if program is None:
        return _OTHER, ""
    try:
        done = subprocess.run(  # noqa: S603  # constants
            [program, "show", "--property=CanNTP", "--property=NTP"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return _OTHER, ""
    lines = done.stdout.split()
    if done.returncode != 0:
        return _OTHER, ""
    if "CanNTP=no" in lines:
        return _AFTER, install_package("systemd-timesyncd")
    if "NTP=no" in lines:
        return _AFTER, as_root("timedatectl", "set-ntp", "true")
    return _NO_SERVER, ""


_FOLLOWS = "the clock follows a time server now: if the date is right, no action is needed"
_OTHER = "let a time service of this system, such as chrony, set the clock"
_AFTER = "the clock is set some seconds later, if this machine reaches the network"
_NO_SERVER = (
    "check that this machine reaches the network: a time service is on, but no server answers"
)
