from __future__ import annotations

import subprocess
import sys

from tests.support.process import ROOT


def test_what_uvicorn_does_not_need_is_not_loaded_and_can_be_later() -> None:
    program = (
        "import sys, infernet_edge.api.server, infernet_edge.control.server\n"
        "unused = {'click', 'multiprocessing', 'uvicorn.main', 'logging.config', 'configparser'}\n"
        "assert not unused & set(sys.modules)\n"
        "import uvicorn.main; assert uvicorn.main.run\n"
        "import logging.config; assert logging.config.dictConfig\n"
        "import configparser; assert configparser.RawConfigParser"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
