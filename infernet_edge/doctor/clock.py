"""Does this machine know the date? A Raspberry Pi without network does not."""

from __future__ import annotations

import ctypes
from datetime import UTC, datetime

from infernet_edge import RELEASED
from infernet_edge.doctor.case import Case
from infernet_edge.doctor.finding import Finding, ok, problem, warning

NAME = "clock"
_SWITCH_ON = "sudo timedatectl set-ntp true; then look at: timedatectl"
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
    # systemd-timesyncd(8) makes the file; others, such as chrony, only tell the kernel.
    if follows_a_server() or (case.root / "run/systemd/timesync/synchronized").exists():
        return ok("it follows a time server")
    return warning(
        f"it says {now:%Y-%m-%d %H:%M} UTC, and does not follow a time server", _SWITCH_ON
    )


def follows_a_server() -> bool:
    """What the kernel was told. Asking, with modes of 0, needs no rights (adjtimex(2))."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_LARGE_ENOUGH))
    except (OSError, AttributeError):  # another system, or another C library
        return False
    return bool(0 <= state < _UNSYNCHRONISED)
