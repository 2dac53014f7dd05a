"""The operating system, by os-release(5)."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from infernet_edge.schema import OSInfo


def read_os(root: Path) -> OSInfo:
    """Name and version of the distribution, or of the kernel if there is no os-release. Blocks."""
    release = _read_release(root)
    kernel = os.uname()
    version = (release.get(key) for key in ("VERSION", "VERSION_ID", "BUILD_ID"))
    return OSInfo(
        name=release.get("NAME") or kernel.sysname,
        version=next(filter(None, version), "") or kernel.release,
    )


def _read_release(root: Path) -> dict[str, str]:
    for path in ("etc/os-release", "usr/lib/os-release"):
        try:
            text = (root / path).read_text("utf-8", "replace")
        except OSError:
            continue
        lines = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
        return {key.strip(): _unquoted(value) for key, _, value in lines}
    return {}


def _unquoted(value: str) -> str:
    try:
        return " ".join(shlex.split(value))
    except ValueError:
        return value.strip()


def in_container(root: Path = Path("/")) -> bool:
    """Whether this is a container of Podman, Docker or Kubernetes: its network is its own.

    Not one of LXC or systemd-nspawn, which is a machine of the network like others.
    """
    marks = ("run/.containerenv", ".dockerenv", "var/run/secrets/kubernetes.io")
    return any((root / mark).exists() for mark in marks)
