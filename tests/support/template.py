"""Processes that are forked from one that has imported the node already.

process = Template("infernet_edge.node").start([sys.executable, "-m", "infernet_edge", ...], ...)

Most of the time of a node's start is that of its imports, and tests start hundreds of nodes. Such a
process has a pid, memory, files and signals of its own, and ends as every Python does. There are
differences: /proc/PID/cmdline and environ are those of the template, limits, umask and niceness are
those that the template started with, and memory and start time are not those of a fresh process.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class Forked:
    """A process that a template has started; it is used as a subprocess.Popen is."""

    def __init__(self, template: Template, args: Sequence[str], pid: int) -> None:
        self.args = args
        self.pid = pid
        self.returncode: int | None = None
        self._template = template
        self._descriptor = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return the exit code; None: it runs; negative: the signal that ended it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._descriptor], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = self._template.exit_code(self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._descriptor, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __del__(self) -> None:
        os.close(self._descriptor)


class Template:
    """The process that is forked; it runs as long as this one."""

    def __init__(self, *modules: str) -> None:
        # It waits for lines, each a request, and answers each with a line.
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *modules],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lock = threading.Lock()
        self._codes: dict[int, int] = {}
        atexit.register(self.stop)

    def start(
        self,
        args: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        log: Path,
        errors: Path | None = None,
    ) -> Forked:
        """Start `python -m MODULE …` or `python -c PROGRAM …`; output is appended to `log`.

        With `errors` what it writes to stderr goes there.
        """
        assert can_start(args), args
        files = {"log": str(log), "errors": str(errors or log)}
        started = {"args": list(args), "cwd": str(cwd), "env": dict(env), **files}
        with self._lock:
            pid = int(self._ask(started))
            self._codes.pop(pid, None)  # of an earlier process with this number
        return Forked(self, args, pid)

    def exit_code(self, pid: int) -> int:
        """The exit code of a process that has ended; may be asked for more than once."""
        with self._lock:
            if pid not in self._codes:
                self._codes[pid] = int(self._ask({"ended": pid}))
            return self._codes[pid]

    def stop(self) -> None:
        """End it; what it has started runs on."""
        atexit.unregister(self.stop)
        self._process.kill()
        self._process.communicate()

    def _ask(self, request: dict[str, Any]) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the template has ended: {request}"
        return answer


def run_forked(
    args: Sequence[str | Path],
    modules: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float = 120,
) -> subprocess.CompletedProcess[bytes]:
    """As subprocess.run with captured output and without stdin, forked from the template."""
    words = [str(each) for each in args]
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        process = template(*modules).start(words, cwd, env, output, errors)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            raise
        return subprocess.CompletedProcess(words, code, output.read_bytes(), errors.read_bytes())


def can_start(args: Sequence[str]) -> bool:
    """Whether these are the arguments of a Python program that a template can start."""
    return args[0] == sys.executable and args[1] in ("-m", "-c")


@functools.cache
def template(*modules: str) -> Template:
    """The one of this process that has imported these modules."""
    return Template(*modules)


def _serve() -> dict[str, Any]:
    """Answer requests; returns, in each process that was forked, what it shall run."""
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        if "ended" in request:
            _, status = os.waitpid(request["ended"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
        elif pid := os.fork():
            print(pid, flush=True)
        else:
            return request
    raise SystemExit


def _become(request: Mapping[str, Any]) -> None:
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    log, errors = (os.open(request[name], flags, 0o666) for name in ("log", "errors"))
    for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (errors, 2)):
        os.dup2(source, target)
    os.close(log)
    os.close(errors)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)


def _run(_python: str, form: str, program: str, *arguments: str) -> None:
    sys.argv = [form, *arguments]
    if form == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    for module in sys.argv[1:]:
        importlib.import_module(module)
    what = _serve()
    _become(what)
    _run(*what["args"])
