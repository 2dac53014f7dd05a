"""Does Podman know the GPUs? It finds them by CDI specifications, files of NVIDIA's toolkit."""

from __future__ import annotations

import re
from pathlib import Path

from infernet_edge.doctor.case import Case
from infernet_edge.doctor.finding import Finding, ok, problem, warning

NAME = "gpu"
_FOLDERS = ("etc/cdi", "var/run/cdi", "run/cdi")  # those of the CDI specification, and of Podman
_GENERATE = "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
# Both JSON and YAML write it so.
_KIND = re.compile(r"""(?:^|[{,])\s*["']?kind["']?\s*:\s*["']?nvidia\.com/gpu\b""", re.MULTILINE)
_HOST_PATH = re.compile(r"""["']?hostPath["']?\s*:\s*["']?(/[^"'\s,}]+)""")


async def check(case: Case) -> Finding:
    """Look for a specification of nvidia.com/gpu, and whether the files are there that it names."""
    wanting = [container.id for container in case.managed if container.gpu]
    if not wanting:
        return ok("not needed: no container wants one")
    return await case.blocking(_check_blocking, case.root, ", ".join(wanting))


def _check_blocking(root: Path, wanting: str) -> Finding:
    for file in _specifications(root):
        text = file.read_text("utf-8", "replace")
        if not _KIND.search(text):
            continue
        gone = [path for path in _HOST_PATH.findall(text) if not (root / path[1:]).exists()]
        if gone:
            return warning(
                f"/{file.relative_to(root)} is out of date: {gone[0]} is gone, perhaps since the"
                " driver was upgraded",
                _GENERATE,
            )
        return ok(f"/{file.relative_to(root)} describes the GPUs for {wanting}")
    return problem(
        f"{wanting} cannot start: no CDI specification of nvidia.com/gpu is in /etc/cdi or"
        " /var/run/cdi",
        f"{_GENERATE} (it comes with the NVIDIA Container Toolkit)",
    )


def _specifications(root: Path) -> list[Path]:
    files = {file for folder in _FOLDERS for file in (root / folder).glob("*")}
    return sorted(file for file in files if file.suffix in (".yaml", ".yml", ".json"))
