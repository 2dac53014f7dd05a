"""A program that serves HTTP, run as a process of its own for a test."""

from __future__ import annotations

import http.client
import os
import signal
import ssl
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.support.template import Forked, can_start, template

ROOT = Path(__file__).parents[2]

_OURS = ("INFERNET_", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "NOTIFY_SOCKET", "JOURNAL_STREAM")


class ServerProcess:
    """Runs a command until it answers on `url` + `health_path`, and ends it.

    What the command writes goes to `log_path`. It does not inherit the environment variables that
    the node reads; those that a test wants are given as `env`. With `imported`, a Python program is
    forked from a process that has imported these modules.
    """

    def __init__(
        self,
        command: Sequence[str],
        url: str,
        log_path: Path,
        *,
        env: Mapping[str, str] | None = None,
        health_path: str = "/health",
        ready_within: float = 60.0,
        imported: Sequence[str] = (),
    ) -> None:
        self.command = list(command)
        self.url = url
        self.log_path = log_path
        self.env = dict(env or {})
        self.health_path = health_path
        self.ready_within = ready_within
        self.imported = tuple(imported)
        self.process: subprocess.Popen[bytes] | Forked | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.running:
            self.stop()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None, "not started"
        return self.process.pid

    def state(self) -> str:
        """Say in words whether it runs."""
        if self.process is None:
            return "not started"
        code = self.process.poll()
        return "running" if code is None else f"ended with {code}"

    def log(self) -> str:
        """Return everything that the process has written so far, in all its starts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def start(self) -> float:
        """Start, wait for the first answer, and return the seconds that this took.

        Raises AssertionError with the log when the process ends or does not answer in time.
        """
        begin = time.perf_counter()
        self.launch()
        while not self.answers():
            assert self.running, f"{self.command} ended with {self.exit_code()}:\n{self.log()}"
            if time.perf_counter() - begin > self.ready_within:
                self.kill()
                raise AssertionError(f"no answer in {self.ready_within} s:\n{self.log()}")
            time.sleep(0.005)
        return time.perf_counter() - begin

    def launch(self) -> None:
        """Start without waiting."""
        assert not self.running, "already running"
        env = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)} | self.env
        if self.imported and can_start(self.command):
            started = template(*self.imported)
            self.process = started.start(self.command, ROOT, env, self.log_path)
            return
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def answers(self) -> bool:
        """Whether the health path answers 200 now."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            trusting = ssl.create_default_context()
            trusting.check_hostname = False
            trusting.verify_mode = ssl.CERT_NONE
            connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=30, context=trusting
            )
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        try:
            connection.request("GET", self.health_path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def exit_code(self, timeout: float = 60.0) -> int:
        """Wait for the end and return the exit code; negative: the signal that ended it."""
        assert self.process is not None, "not started"
        return self.process.wait(timeout)

    def stop(self, timeout: float = 60.0) -> int:
        """Send SIGTERM, wait, and return the exit code.

        Raises AssertionError with the log when it does not end in `timeout` seconds; it is killed
        then.
        """
        assert self.process is not None, "not started"
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.exit_code(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(
                f"still running {timeout} s after SIGTERM:\n{self.log()}"
            ) from None

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        assert self.process is not None, "not started"
        self.process.kill()
        self.exit_code()

    def restart(self) -> float:
        """Stop when it runs, start again, and return the seconds until the first answer."""
        if self.running:
            self.stop()
        return self.start()
