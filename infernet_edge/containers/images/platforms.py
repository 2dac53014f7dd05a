"""Whether this machine can run an image, by the architecture that the image declares."""

from __future__ import annotations

from pathlib import Path

# Names of architectures: those of images (Go's), and others that mean the same.
_ALIASES = {"x86_64": "amd64", "aarch64": "arm64", "i386": "386", "armhf": "arm", "armv7l": "arm"}
_ALSO_RUNS = {"amd64": {"386"}, "arm64": {"arm"}}  # the kernels' compatibility modes
# What the kernel's handlers of foreign programs call them (qemu-user-static, FEX, box64).
_HANDLERS = {"amd64": "x86_64", "arm64": "aarch64", "386": "i386"}
_SETTINGS = "proc/sys/fs"
_MAX_HANDLER_BYTES = 4096


def obstacle(
    name: str, architecture: str, system: str, machine: str, root: Path = Path("/")
) -> str:
    """Why this machine cannot run an image; "" when it can, or when that is not known.

    `architecture` and `system` are those of the image, `machine` that of Podman's machine, which
    is this one. Programs of others run where the kernel has a handler for them (binfmt_misc).
    """
    image, here = _plain(architecture), _plain(machine)
    if system not in ("", "linux"):
        return f"image {name} is for {system}, this machine is linux: use an image for linux"
    if not image or not here or image == here or image in _ALSO_RUNS.get(here, ()):
        return ""
    if _has_handler(_HANDLERS.get(image, image), root):
        return ""
    return f"image {name} is for {image}, this machine is {here}: use an image for {here}"


def _plain(architecture: str) -> str:
    return _ALIASES.get(architecture.lower(), architecture.lower())


def _has_handler(name: str, root: Path) -> bool:
    """See binfmt_misc in the kernel's admin guide: one file for each handler.

    True as well where a sandbox hides them (ProcSubset=): Podman may run the image then.
    """
    settings = root / _SETTINGS
    try:
        files = [each for each in (settings / "binfmt_misc").iterdir() if each.is_file()]
    except FileNotFoundError:
        return not settings.is_dir()
    except OSError:
        return True
    return any(_handles(file, name) for file in files)


def _handles(file: Path, name: str) -> bool:
    try:
        with file.open("r", errors="replace") as opened:
            text = opened.read(_MAX_HANDLER_BYTES)
    except OSError:
        return False
    interpreter = next((line for line in text.splitlines() if line.startswith("interpreter ")), "")
    return text.startswith("enabled") and (
        file.name.lower().endswith(name) or Path(interpreter).name.lower().find(name) >= 0
    )
