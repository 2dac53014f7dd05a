"""The executable at work, in both of its forms."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from infernet_edge import __version__
from tests.benchmarks.usage import memory
from tests.support.client import Api, eventually
from tests.support.demo_image import make_demo_image
from tests.support.echo import EchoService
from tests.support.executable import Executable
from tests.support.node import NodeProcess
from tests.support.podman import IsolatedPodman, need
from tests.support.ports import free_port

_MAX_MEMORY = 43 * 2**20  # bytes
_DUMP = """#!/bin/sh
env >{folder}/environment
echo 'not today' >&2
exit 125
"""


@pytest.fixture(params=["file", "program"])
def form(request: pytest.FixtureRequest, executable: Executable) -> str:
    return str(getattr(executable, request.param))


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_it_says_what_it_is_and_leaves_nothing_behind(form: str, tmp_path: Path) -> None:
    told = run(form, "--version", TMPDIR=str(tmp_path))
    assert (told.returncode, told.stdout) == (0, f"infernet-edge {__version__}\n"), told.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_the_installation_shows_what_the_real_one_would_refuse(form: str) -> None:
    """Also where there is no systemd, as in most containers."""
    told = run(form, "service", "install", "--dry-run")
    assert told.returncode == 0, told.stderr
    assert "Write /etc/systemd/system/infernet-edge.service (mode 0644)" in told.stdout
    assert "Run systemctl enable infernet-edge.service" in told.stdout
    answer = json.loads(run(form, "service", "install", "--dry-run", "--json").stdout)
    assert "Run systemctl enable infernet-edge.service" in answer["steps"]
    if not Path("/run/systemd/system").exists():
        assert "The real run would fail: This machine does not run systemd." in told.stdout
        refused = run(form, "service", "install")
        assert (refused.returncode, "does not run systemd" in refused.stderr) == (1, True)


def test_exit_codes_are_those_of_the_command_line(form: str, tmp_path: Path) -> None:
    wrong = tmp_path / "config.json"
    wrong.write_text('{"server": {"port": "many"}}')
    assert run(form, "check", "--config", str(wrong)).returncode == 78
    assert run(form, "what").returncode == 2
    assert run(form, "status", "--config", str(tmp_path / "none.json")).returncode == 78


def test_init_writes_what_check_accepts(form: str, tmp_path: Path) -> None:
    path = str(tmp_path / "config.toml")
    done = run(form, "init", "--defaults", "--output", path)
    assert done.returncode == 0, done.stderr
    assert run(form, "check", "--config", path).returncode == 0


def test_it_makes_and_reads_a_key(form: str, tmp_path: Path) -> None:
    password, keystore = tmp_path / "password", tmp_path / "keystore.json"
    password.write_text("a long password\n")
    password.chmod(0o600)
    made = run(
        *(form, "wallet", "new", "--password-file", str(password), "--output", str(keystore))
    )
    assert made.returncode == 0, made.stderr
    assert "Address  0x" in made.stdout
    assert '"version": 3' in keystore.read_text()


def test_a_job_a_restart_and_the_end(form: str, tmp_path: Path) -> None:
    with EchoService(tmp_path) as echo:
        config = {"containers": [{"id": "echo", "url": echo.url}]}
        with NodeProcess(config, tmp_path / "node", command=[form]) as node:
            api = Api(node.port)
            first = api.submit("echo", {"n": 1})
            [result] = api.finished([first])
            assert result["status"] == "success"
            assert node.stop() == 0
            node.start()
            assert api.finished([first]) == [result]


def test_the_dashboard_is_in_it(form: str, tmp_path: Path) -> None:
    with NodeProcess({"containers": []}, tmp_path, command=[form]) as node:
        api = Api(node.port)
        page = api.get("/").body.decode()
        files = re.findall(r"(?:src|href)=(ui/[^ >]+)", page)
        assert len(files) > 5
        assert [api.get(f"/{file}").status for file in files] == [200] * len(files)


def test_the_installed_form_is_light(executable: Executable, tmp_path: Path) -> None:
    node = NodeProcess({"containers": []}, tmp_path, command=[str(executable.program)])
    with node:
        eventually(lambda: "node.ready" in node.log())
        assert memory(node.pid).pss <= _MAX_MEMORY


def test_programs_that_it_starts_get_the_users_environment(form: str, tmp_path: Path) -> None:
    podman = tmp_path / "podman"
    podman.write_text(_DUMP.format(folder=tmp_path))
    podman.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    run(form, "demo", "--once", "--port", str(free_port()), PATH=path, LD_LIBRARY_PATH="/mine")
    environment = dict(
        line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines()
    )
    assert environment["LD_LIBRARY_PATH"] == "/mine"
    assert not [name for name in environment if "PYI" in name or name == "LD_LIBRARY_PATH_ORIG"]


def test_demo_without_podman(form: str, tmp_path: Path) -> None:
    done = run(
        *(form, "demo", "--once", "--no-podman", "--port", str(free_port())), TMPDIR=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert '{"rating": "positive", "confidence": ' in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_demo_with_podman(executable: Executable) -> None:
    need("podman")
    with IsolatedPodman() as podman:
        image = make_demo_image(podman)
        done = run(
            *(str(executable.file), "demo", "--once", "--image", image),
            *("--port", str(free_port())),
            **podman.environment,
        )
        assert done.returncode == 0, done.stderr
        assert f"run as containers of {image}" in done.stdout.replace("\n", " ")


def test_a_signal_to_the_one_file_ends_the_node(executable: Executable, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    node = NodeProcess(
        {}, tmp_path / "node", command=[str(executable.file)], env={"TMPDIR": str(temporary)}
    )
    with node:
        assert len(list(temporary.iterdir())) == 1
        assert node.process is not None
        node.process.send_signal(signal.SIGTERM)
        assert node.exit_code() == 0
    assert "node.stopped" in node.log()
    assert list(temporary.iterdir()) == []


def test_ctrl_c_on_a_terminal_is_one_signal(executable: Executable, tmp_path: Path) -> None:
    """Both processes of the one-file executable get it, and the outer one passes it on."""
    node = NodeProcess({}, tmp_path / "node", command=[str(executable.file)])
    with node:
        (inner,) = psutil.Process(node.pid).children()
        assert node.process is not None
        node.process.send_signal(signal.SIGINT)
        inner.send_signal(signal.SIGINT)
        assert node.exit_code() == 0
    assert node.log().count("node.stopping") == 1
    assert "node.aborted" not in node.log()
