"""Intervals and time-outs of the container manager."""

from __future__ import annotations

from msgspec import Struct


class Timing(Struct, frozen=True):
    """All waits of the container manager, in seconds. Tests use shorter ones."""

    # Between two comparisons with Podman's list, each of which starts Podman for some seconds. The
    # end of a container is detected without it; this detects containers that were paused manually.
    reconcile: float = 900.0
    # Between two attempts to connect to a container whose process is not visible: while any
    # container has a job in progress, and otherwise.
    port_poll_busy: float = 1.0
    port_poll_idle: float = 12.0
    reconnect: float = 0.5  # after the connection to Podman was lost; doubles
    reconnect_limit: float = 60.0
    restart: float = 1.0  # after a container stopped; doubles
    restart_limit: float = 60.0
    quick_crash: float = 60.0  # a container that stopped earlier than this crashed quickly
    crash_loop: float = 300.0  # after `crash_cap` quick crashes in a row
    retry: float = 5.0  # after a pull or a start that failed; doubles
    retry_limit: float = 300.0
    probe: float = 0.05  # between two probes of a container that starts; grows
    probe_limit: float = 5.0
    silent: float = 5.0  # after a start without an answer, until its ports are searched; grows
    silent_limit: float = 300.0
    suspect: float = 5.0  # between two probes of a ready container after a failed call
    unmanaged: float = 30.0  # between two probes of a service that the node does not manage
    unmanaged_down: float = 2.0  # the same while one does not answer; doubles up to `unmanaged`
    turn: float = 30.0  # for which a container may go on while another is waited for, see sleeping/
    stop: int = 5  # between SIGTERM and SIGKILL for a container
    crash_cap: int = 5
