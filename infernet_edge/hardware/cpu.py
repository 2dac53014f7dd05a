"""The processor: from /proc, /sys and the device tree; py-cpuinfo for values that those lack.

/proc/cpuinfo alone is complete on x86, and on ARM boards whose cores arm.py names. There
py-cpuinfo, which takes seconds on a small board and starts other programs, is never called.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from infernet_edge.hardware.arm import core_name, implementer_name
from infernet_edge.schema import CPUInfo

Block = Mapping[str, str]
"""One paragraph of /proc/cpuinfo: a logical core, or at the end of some ARM kernels, the board."""

_GENERIC = re.compile(r"(ARMv\d|AArch64)", re.IGNORECASE)
"""ARM kernels put the architecture where others put a name: "ARMv8 Processor rev 1 (v8l)"."""


class Processor(Struct, frozen=True):
    """The kernel's description of the processor; "" for what it does not report.

    `name` identifies the processor; `generic_name` is the fallback when there is no better name.
    """

    architecture: str
    cores: list[str]
    name: str
    generic_name: str
    board: str
    vendor: str

    @property
    def is_known(self) -> bool:
        return bool(self.name and self.vendor)


def read_processor(root: Path, architecture: str) -> Processor:
    """Read the processor from /proc and /sys below `root`. Blocks; missing files are allowed."""
    blocks = _read_blocks(root / "proc/cpuinfo")
    reported = _first(blocks, "model name", "cpu model", "uarch")
    return Processor(
        architecture=architecture,
        cores=_cores(root, blocks),
        name=_core_names(blocks) or ("" if _GENERIC.match(reported) else reported),
        generic_name=reported or _first(blocks, "Processor", "cpu", "Hardware"),
        board=_board(root) or _first(blocks, "Model"),
        vendor=_first(blocks, "vendor_id") or implementer_name(_first(blocks, "CPU implementer")),
    )


def cpu_info(processor: Processor, fallback: Mapping[str, object]) -> CPUInfo:
    """The processor as /resources shows it, with py-cpuinfo's values as `fallback`.

    The model of a board is its cores and the name by which users know it, the board:
    "Cortex-A76 (Raspberry Pi 5 Model B Rev 1.0)". Byte order is spelled as lscpu does.
    """
    name = processor.name or _text(fallback, "brand_raw") or processor.generic_name
    board = processor.board
    return CPUInfo(
        architecture=processor.architecture or _text(fallback, "arch_string_raw"),
        byte_order=f"{sys.byteorder.capitalize()} Endian",
        cores=processor.cores,
        model=f"{name} ({board})" if name and board else name or board,
        num_cores=len(processor.cores),
        vendor_id=processor.vendor or _text(fallback, "vendor_id_raw"),
    )


def query_py_cpuinfo() -> Mapping[str, object]:
    """The values of py-cpuinfo. Blocks for a second and more, and may hang or raise anything."""
    import cpuinfo

    values: Mapping[str, object] = cpuinfo.get_cpu_info()
    return values


def _read_blocks(path: Path) -> list[Block]:
    blocks: list[Block] = []
    for paragraph in _read(path).split("\n\n"):
        pairs = (line.partition(":") for line in paragraph.splitlines())
        if block := {key.strip(): " ".join(value.split()) for key, _, value in pairs}:
            blocks.append(block)
    return blocks


def _first(blocks: list[Block], *keys: str) -> str:
    return next((block[key] for key in keys for block in blocks if block.get(key)), "")


def _core_names(blocks: list[Block]) -> str:
    """The distinct ARM cores; big.LITTLE boards have several: "Cortex-A55 + Cortex-A76"."""
    names = (core_name(b.get("CPU implementer", ""), b.get("CPU part", "")) for b in blocks)
    return " + ".join(dict.fromkeys(name for name in names if name))


def _board(root: Path) -> str:
    # Device tree strings end with a NUL byte. The first path is a link to the second, and is
    # missing where /proc is restricted.
    for path in ("proc/device-tree/model", "sys/firmware/devicetree/base/model"):
        if board := _read(root / path).strip("\0 \n"):
            return board
    return ""


def _cores(root: Path, blocks: list[Block]) -> list[str]:
    """One line a logical core that is online: "0: 1800 MHz (600-2400)", frequencies if known."""
    by_number = {int(b["processor"]): b for b in blocks if b.get("processor", "").isdecimal()}
    numbers = _online(root) or sorted(by_number) or list(range(_count()))
    return [_core(root, number, by_number.get(number, {})) for number in numbers]


def _core(root: Path, number: int, block: Block) -> str:
    # psutil cannot be used here: it reads the same files, but returns one value for each frequency
    # domain, and a Raspberry Pi has one domain for all four cores.
    folder = root / f"sys/devices/system/cpu/cpu{number}/cpufreq"
    now = _megahertz(folder / "scaling_cur_freq") or _rounded(block.get("cpu MHz", ""))
    low = _megahertz(folder / "cpuinfo_min_freq")
    high = _megahertz(folder / "cpuinfo_max_freq")
    limits = f"{low}-{high}" if low and high else ""
    if now:
        return f"{number}: {now} MHz ({limits})" if limits else f"{number}: {now} MHz"
    return f"{number}: {limits} MHz" if limits else str(number)


def _online(root: Path) -> list[int]:
    """The numbers in a list such as "0-3,6" (the kernel's cputopology.rst)."""
    ranges = re.findall(r"(\d+)(?:-(\d+))?", _read(root / "sys/devices/system/cpu/online"))
    return [number for low, high in ranges for number in range(int(low), int(high or low) + 1)]


def _count() -> int:
    import psutil

    return psutil.cpu_count() or 1


def _megahertz(path: Path) -> int:
    """MHz from a cpufreq file, which holds kHz; 0 when it is missing."""
    text = _read(path).strip()
    return round(int(text) / 1000) if text.isdecimal() else 0


def _rounded(text: str) -> int:
    try:
        return round(float(text))
    except ValueError:
        return 0


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _text(values: Mapping[str, object], key: str) -> str:
    value = values.get(key)
    return value.strip() if isinstance(value, str) else ""
