"""The environment in which the unmodified official client package is installed."""

from __future__ import annotations

import os

import pytest

from tests.support.process import ROOT


def official_python() -> str:
    """Return its Python.

    Without it the test is skipped, or fails when the environment says CI=true.
    """
    python = ROOT / ".cache/tests/official_client/bin/python"
    if not python.exists():
        how = "the official client is not installed: run tests/setup"
        assert os.environ.get("CI") != "true", how
        pytest.skip(how)
    return str(python)
