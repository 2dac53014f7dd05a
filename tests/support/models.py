"""The environment with a real language model and llama.cpp's server, made by tests/setup models."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Final

import pytest

from tests.support.podman import IsolatedPodman
from tests.support.ports import free_port
from tests.support.process import ROOT, ServerProcess

ENVIRONMENT: Final = ROOT / ".cache/tests/models"
MODEL: Final = ENVIRONMENT / "model.gguf"
SERVE: Final = ROOT / "tests/models/serve.py"
EMBED: Final = ROOT / "tests/models/embed.py"


def need_model() -> None:
    """Skip the test without the model; fail when the environment says CI=true."""
    if not MODEL.exists():
        how = "there is no model: run tests/setup models"
        assert os.environ.get("CI") != "true", how
        pytest.skip(how)


def make_llama_server(folder: Path) -> Path:
    """A program named llama-server in a folder, which may be put into the PATH."""
    made = folder / "llama-server"
    made.write_text(f'#!/bin/sh\nexec {ENVIRONMENT}/bin/python {SERVE} "$@"\n')
    made.chmod(0o755)
    return made


def make_llama_image(podman: IsolatedPodman) -> str:
    """An image whose entry point takes the arguments of llama-server, as llama.cpp's own does.

    It has the Python of the echo image, and the server with the libraries that it needs.
    """
    name = "localhost/infernet-test/llama-server:1"
    (package,) = ENVIRONMENT.glob("lib/python3.*/site-packages/xllamacpp")
    (library,) = package.glob("*.so")
    shown = subprocess.run(["ldd", library], capture_output=True, text=True, check=True).stdout
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.add(package, "package/xllamacpp")
            archive.add(SERVE, "serve.py")
            for path in sorted({word for word in shown.split() if word.startswith("/")}):
                archive.add(Path(path).resolve(), f"libraries{path}")
            content = (
                f"FROM {podman.echo_image()}\nCOPY package /package\nCOPY serve.py /\n"
                "COPY libraries /\nENV PYTHONPATH=/package\n"
                'ENTRYPOINT ["/python", "/serve.py"]\n'
            ).encode()
            described = tarfile.TarInfo("Containerfile")
            described.size = len(content)
            archive.addfile(described, io.BytesIO(content))
        file.seek(0)
        podman.run("build", "--quiet", "--tag", name, "-", stdin=file)
    return name


def make_bare_image(podman: IsolatedPodman) -> str:
    """An image that has nothing but busybox, for programs of this machine; see `mounted`."""
    name = "localhost/infernet-test/bare:1"
    content = b"FROM scratch\nCOPY busybox /busybox\n"
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.add(Path("/bin/busybox").resolve(), "busybox")
            described = tarfile.TarInfo("Containerfile")
            described.size = len(content)
            archive.addfile(described, io.BytesIO(content))
        file.seek(0)
        podman.run("build", "--quiet", "--tag", name, "-", stdin=file)
    return name


def mounted() -> list[str]:
    """Volumes with the environment of the models, and the Python and libraries that it needs."""
    python = str(ENVIRONMENT / "bin/python")
    asked = [python, "-c", "import sys; print(sys.base_prefix)"]
    base = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    folders = [base, str(ENVIRONMENT), str(SERVE.parent)]
    folders += [each for each in ("/usr", "/lib", "/lib64") if each != base and Path(each).is_dir()]
    return [f"{folder}:{folder}:ro" for folder in folders]


class LlamaServer(ServerProcess):
    """llama.cpp's server as a process of its own on a free port."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        python = ENVIRONMENT / "bin/python"
        super().__init__(
            [str(python), str(SERVE), "--model", str(MODEL), "--port", str(port)],
            f"http://127.0.0.1:{port}",
            folder / "llama.log",
            ready_within=60,
        )
