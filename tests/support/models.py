"""The environment with a real language model and llama.cpp's server, made by tests/setup models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from tests.support.ports import free_port
from tests.support.process import ROOT, ServerProcess

ENVIRONMENT: Final = ROOT / ".cache/tests/models"
MODEL: Final = ENVIRONMENT / "model.gguf"
SERVE: Final = ROOT / "tests/models/serve.py"


def need_model() -> None:
    """Skip the test without the model; fail when the environment says CI=true."""
    if not MODEL.exists():
        how = "there is no model: run tests/setup models"
        assert os.environ.get("CI") != "true", how
        pytest.skip(how)


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
