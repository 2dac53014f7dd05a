"""Whether a container runs below an init process.

It passes signals on and collects zombies, which most services do not do as the first process of a
container: without it many ignore SIGTERM and are killed after the stop time-out.
"""

from __future__ import annotations

import re
import shlex
from pathlib import PurePosixPath

from infernet_edge.containers.podman import LocalImage

# Programs that are the init process of their image; s6 and systemd insist on being the first one.
_OWN = frozenset(
    {"init", "catatonit", "docker-init", "dumb-init", "my_init", "runsvdir", "runit", "runit-init"}
    | {"s6-svscan", "s6-overlay-suexec", "systemd", "tini", "tini-static", "tini-amd64"}
    | {"tini-arm64", "openrc-init", "procd", "pid1"}
)
# Podman 4 and 5 say "could not find catatonit", or "container-init binary not found on the host".
_NO_PROGRAM = re.compile(r"catatonit|container-init|init binary", re.IGNORECASE)
_NOT_FIRST = re.compile(r"\b(?:as|be|is) (?:not )?pid ?1\b", re.IGNORECASE)
# catatonit runs a program as a script of /bin/sh when the kernel does not execute it, as
# execvp(3) does: an empty file then ends silently, and an image without a shell has another error.
_HIDDEN = re.compile(r"failed to exec pid1|^it stopped with exit code 0$")


def brings_own(image: LocalImage, command: str) -> bool:
    """Whether the first program of a container with this `command` is an init process."""
    words = shlex.split(command) if image.takes_command else []
    program = words[0] if words else image.program
    return PurePosixPath(program).name in _OWN


def is_missing(error: str) -> bool:
    """Whether Podman could not create a container because it has no init program."""
    return _NO_PROGRAM.search(error) is not None


def has_to_be_first(output: str) -> bool:
    """Whether a program says that it has to be the first process of its container."""
    return _NOT_FIRST.search(output) is not None


def hides_cause(reason: str) -> bool:
    """Whether a stop shortly after the start may have another cause than its reason says."""
    return _HIDDEN.search(reason) is not None
