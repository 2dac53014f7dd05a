"""The helpers that run servers for the other tests."""

import signal
import sys
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.process import ServerProcess

SERVER = """
import http.server, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print("starting", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def server(folder: Path) -> ServerProcess:
    port = free_port()
    command = [sys.executable, "-c", SERVER, str(port)]
    return ServerProcess(command, f"http://127.0.0.1:{port}", folder / "log")


def test_it_answers_inside_the_block_and_is_gone_after(tmp_path: Path) -> None:
    with server(tmp_path) as process:
        assert process.answers()
        assert process.running
    assert not process.running
    assert not process.answers()


def test_stop_gives_the_exit_code_and_restart_starts_again(tmp_path: Path) -> None:
    with server(tmp_path) as process:
        first = process.pid
        assert process.stop() == 3
        process.restart()
        assert process.pid != first
        assert process.log().count("starting") == 2


def test_kill_leaves_no_time_to_clean_up(tmp_path: Path) -> None:
    with server(tmp_path) as process:
        process.kill()
        assert process.exit_code() == -signal.SIGKILL


def test_a_process_that_ends_at_once_shows_its_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no luck'); raise SystemExit(78)"]
    process = ServerProcess(command, f"http://127.0.0.1:{free_port()}", tmp_path / "log")
    with pytest.raises(AssertionError, match=r"78:\nno luck"):
        process.start()
