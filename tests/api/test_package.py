from __future__ import annotations

import subprocess
import sys

from tests.support.process import ROOT


def test_uvicorns_command_line_is_not_loaded_and_can_be_later() -> None:
    program = (
        "import sys, infernet_edge.api.server, infernet_edge.control.server\n"
        "assert not {'click', 'multiprocessing', 'uvicorn.main'} & set(sys.modules)\n"
        "import uvicorn.main; assert uvicorn.main.run"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
