"""Names of devices in a configuration: paths, and names of the Container Device Interface (CDI)."""

from __future__ import annotations

import re

# As in SPEC.md of https://tags.cncf.io/container-device-interface: vendor/class=name.
_KIND = r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?/[A-Za-z](?:[A-Za-z0-9_-]*[A-Za-z0-9])?"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?"
_CDI_NAME = re.compile(f"{_KIND}={_NAME}")
_GPU = f"(?:{_KIND}=)?{_NAME}"

GPU_PATTERN = rf"^(?!(?i:true|false|yes|no|on|off|none)$){_GPU}(?:\s*,\s*{_GPU})*$"
"""Names of GPUs, separated by commas; words that mean true or false elsewhere are not names."""

GPU_KIND = "nvidia.com/gpu"
"""The CDI kind of GPUs in NVIDIA's container toolkit; the names are "0", …, and "all"."""


def is_cdi_name(device: str) -> bool:
    """Whether `device` is a CDI name, such as nvidia.com/gpu=0."""
    return _CDI_NAME.fullmatch(device) is not None


def host_path(device: str) -> str:
    """The host's path of a configured device, "/dev/a" of "/dev/a:/dev/b:rw"; "" of a CDI name."""
    return "" if is_cdi_name(device) else device.partition(":")[0]


def gpu_names(gpu: bool | str) -> list[str]:
    """The CDI names of a value of `containers[].gpu`: true, "0", "0,1", "amd.com/gpu=all"."""
    if isinstance(gpu, bool):
        return [f"{GPU_KIND}=all"] if gpu else []
    names = (name.strip() for name in gpu.split(","))
    return [name if "=" in name else f"{GPU_KIND}={name}" for name in names]
