"""How fast the container manager does things."""

from __future__ import annotations

from msgspec import Struct


class Timing(Struct, frozen=True):
    """All waits of the container manager, in seconds. Tests use shorter ones."""

    # Between two comparisons with what Podman says, each of which starts it for some seconds: ends
    # are noticed without it, so what is left for this are containers that were paused by hand.
    reconcile: float = 900.0
    # Between two attempts to connect to a container whose process cannot be seen, while any
    # container works on a job, and otherwise.
    knock_busy: float = 1.0
    knock_idle: float = 12.0
    reconnect: float = 0.5  # after Podman went away; doubles
    reconnect_limit: float = 60.0
    restart: float = 1.0  # after a container stopped; doubles
    restart_limit: float = 60.0
    quick_crash: float = 60.0  # a container that stopped sooner than this crashed quickly
    crash_loop: float = 300.0  # after `crash_cap` quick crashes in a row
    retry: float = 5.0  # after a pull or a start that failed; doubles
    retry_limit: float = 300.0
    probe: float = 0.05  # between two probes of a container that starts; grows
    probe_limit: float = 5.0
    unmanaged: float = 30.0  # between two probes of a service that somebody else runs
    unmanaged_down: float = 2.0  # the same while one does not answer; doubles up to `unmanaged`
    stop: int = 5  # from asking a container to stop to killing it
    crash_cap: int = 5
