"""Remedies for errors of Podman."""

from __future__ import annotations

_HINTS = {
    "unresolvable CDI devices": "describe the GPU for Podman with:"
    " nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml, or change gpu or devices in the"
    " configuration; infernet-edge doctor lists the names that exist",
    "stat /dev/": "connect the device, or change containers[].devices and gpu in the configuration;"
    " infernet-edge doctor lists what is missing",
    "no space left on device": "free disk space, for example with: podman image prune",
}


def hint(problem: str) -> str:
    """The remedy for a known problem, as a sentence; "" for others."""
    return next(
        (f". To fix it, {remedy}" for part, remedy in _HINTS.items() if part in problem), ""
    )
