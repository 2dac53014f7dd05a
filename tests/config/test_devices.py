from __future__ import annotations

import pytest

from infernet_edge.config.devices import gpu_names, host_path, is_cdi_name


@pytest.mark.parametrize(
    ("device", "path"),
    [
        ("/dev/hailo0", "/dev/hailo0"),
        ("/dev/a:/dev/b:rw", "/dev/a"),
        ("/dev/a:r", "/dev/a"),
        ("nvidia.com/gpu=0", ""),
        ("nvidia.com/gpu=GPU-3a1c-22", ""),
        ("nvidia.com/gpu=1:0", ""),
        ("hailo.ai/npu=all", ""),
    ],
)
def test_cdi_names_have_no_path(device: str, path: str) -> None:
    assert host_path(device) == path
    assert is_cdi_name(device) == (path == "")


@pytest.mark.parametrize("device", ["/dev/gpu=0", "gpu=0", "a/b=", "a/b=-", "a/b=x y", "0"])
def test_what_is_no_cdi_name(device: str) -> None:
    assert not is_cdi_name(device)


@pytest.mark.parametrize(
    ("gpu", "names"),
    [
        (False, []),
        (True, ["nvidia.com/gpu=all"]),
        ("all", ["nvidia.com/gpu=all"]),
        ("0", ["nvidia.com/gpu=0"]),
        ("0, 2", ["nvidia.com/gpu=0", "nvidia.com/gpu=2"]),
        ("1:0", ["nvidia.com/gpu=1:0"]),
        ("nvidia.com/gpu=1", ["nvidia.com/gpu=1"]),
        ("amd.com/gpu=all,0", ["amd.com/gpu=all", "nvidia.com/gpu=0"]),
    ],
)
def test_gpus_have_cdi_names(gpu: bool | str, names: list[str]) -> None:
    assert gpu_names(gpu) == names
