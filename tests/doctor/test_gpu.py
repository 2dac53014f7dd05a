from __future__ import annotations

from pathlib import Path

import pytest

from infernet_edge.doctor import gpu
from infernet_edge.doctor.finding import Finding
from tests.support.examining import finding, with_file
from tests.support.running import configuration

# As `nvidia-ctk cdi generate` writes them, shortened.
_YAML = """\
---
cdiVersion: 0.5.0
containerEdits:
  mounts:
  - containerPath: /usr/lib/libcuda.so.535.104
    hostPath: /usr/lib/libcuda.so.535.104
    options: [ro, nosuid, nodev, bind]
devices:
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
  name: all
kind: nvidia.com/gpu
"""
_JSON = """{"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "containerEdits": {"mounts": [
{"hostPath": "/usr/lib/libcuda.so.535.104", "containerPath": "/usr/lib/libcuda.so.535.104"}]}}"""
_OTHER = "cdiVersion: 0.5.0\nkind: example.com/npu\n# not nvidia.com/gpu\n"


async def look(folder: Path, *, gpu_wanted: bool = True) -> Finding:
    container = {"id": "llm", "image": "localhost/llm", "gpu": gpu_wanted}
    document = {"manage_containers": True, "containers": [container]}
    return await finding(gpu, configuration(folder, document), root=folder)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("etc/cdi/nvidia.yaml", _YAML),
        ("var/run/cdi/nvidia.yml", _YAML),
        ("run/cdi/nvidia.json", _JSON),
    ],
)
async def test_a_specification_is_there(tmp_path: Path, path: str, text: str) -> None:
    with_file(tmp_path, path, text)
    with_file(tmp_path, "etc/cdi/a.yaml", _OTHER)
    outdated = await look(tmp_path)
    assert outdated.level == "warning"
    assert "/usr/lib/libcuda.so.535.104 is gone" in outdated.text
    assert outdated.remedy.startswith("sudo nvidia-ctk cdi generate")
    with_file(tmp_path, "usr/lib/libcuda.so.535.104")
    assert await look(tmp_path) == Finding("ok", f"/{path} describes the GPUs for llm")


async def test_there_is_none(tmp_path: Path) -> None:
    with_file(tmp_path, "etc/cdi/a.yaml", _OTHER)
    with_file(tmp_path, "etc/cdi/nvidia.yaml.old", _YAML)
    found = await look(tmp_path)
    assert found.level == "problem"
    assert found.text.startswith("llm cannot start")
    assert found.remedy.startswith("sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml")


async def test_nobody_wants_one(tmp_path: Path) -> None:
    assert (await look(tmp_path, gpu_wanted=False)).text.startswith("not needed")
