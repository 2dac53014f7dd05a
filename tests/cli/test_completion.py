"""`infernet-edge completion`: what real shells complete."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from infernet_edge.cli.main import COMMANDS
from tests.support import completion
from tests.support.commanding import run_command
from tests.support.podman import need
from tests.support.process import ROOT

_BASH = """
source {file}
COMP_WORDS=({words})
COMP_CWORD={number}
_infernet_edge
printf '%s\\n' "${{COMPREPLY[@]}}"
"""

# What zsh's own functions would show is printed.
_ZSH = """
compdef() {{ : }}
compset() {{ : }}
compadd() {{ shift; print -rl -- "$@" }}
_files() {{ print -rl -- *(N) }}
_describe() {{ local name=${{@[-1]}}; print -rl -- ${{${{(P)name}}%%:*}} }}
source {file}
words=({words})
CURRENT={number}
_infernet_edge
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The command as a program, and a configuration with two containers."""
    program = tmp_path / "bin/infernet-edge"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m infernet_edge "$@"\n')
    program.chmod(0o755)
    file = tmp_path / "config.json"
    ids = [{"id": name, "url": "http://127.0.0.1:9"} for name in ("writer", "rater")]
    file.write_text(json.dumps({"containers": ids, "storage": {"path": str(tmp_path)}}))
    return {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "INFERNET_CONFIG_PATH": str(file),
        "HOME": str(tmp_path),
        "COLUMNS": "200",
    }


def run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        env=environment,
        cwd=environment["HOME"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def complete(shell: str, line: str, environment: dict[str, str]) -> set[str]:
    """What a shell offers for the last word of a line."""
    file = completion.FOLDER / f"infernet-edge.{shell}"
    words = line.split(" ")
    if shell == "bash":
        quoted = " ".join(map(shlex.quote, words))
        script = _BASH.format(file=file, words=quoted, number=len(words) - 1)
        return set(run(["bash", "-c", script], environment).split())
    need(shell)
    if shell == "fish":
        shown = run(["fish", "-c", f"source {file}; complete -C {shlex.quote(line)}"], environment)
        return {each.partition("\t")[0] for each in shown.splitlines()}
    quoted = " ".join(map(shlex.quote, words))
    script = _ZSH.format(file=file, words=quoted, number=len(words))
    return set(run(["zsh", "-f", "-c", script], environment).split())


CASES = [
    ("infernet-edge ", {"submit", "jobs", "help"}, {"install"}),
    ("infernet-edge wallet pay ", {"create", "withdraw"}, {"import"}),
    ("infernet-edge submit --", {"--wait", "--priority", "--url"}, {"--follow", "wallet"}),
    ("infernet-edge jobs --state ", {"running", "cancelled"}, {"--json"}),
    ("infernet-edge help ", {"api", "quick-start"}, {"submit"}),
    ("infernet-edge completion ", {"bash", "zsh"}, {"submit"}),
    ("infernet-edge check --config co", {"config.json"}, {"bin/"}),
    ("infernet-edge submit ", {"writer", "rater"}, {"jobs"}),
    ("infernet-edge jobs --container ", {"writer", "rater"}, {"--json"}),
    ("infernet-edge wait --timeout ", set(), {"writer", "--json"}),
]


@pytest.mark.parametrize(("line", "offered", "others"), CASES)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_is_offered(
    shell: str, line: str, offered: set[str], others: set[str], environment: dict[str, str]
) -> None:
    found = complete(shell, line, environment)
    assert offered <= found
    assert not others & found


def test_the_second_container_of_a_chain(environment: dict[str, str]) -> None:
    for shell in ("bash", "fish"):
        found = complete(shell, "infernet-edge submit writer,ra", environment)
        assert found == {"writer,rater"}, shell


def test_every_command_is_offered(environment: dict[str, str]) -> None:
    assert complete("bash", "infernet-edge ", environment) >= set(COMMANDS)


@pytest.mark.parametrize("shell", completion.FILES)
def test_the_file_is_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("completion", shell) == 0
    printed = capsys.readouterr().out
    assert printed == completion.FILES[shell](), "run: python -m tests.support.reference"


def test_without_a_configuration_no_container_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.json"
    monkeypatch.setenv("INFERNET_CONFIG_PATH", str(file))
    for content in ("{", '{"containers": 3}', "{}"):
        file.write_text(content)
        assert run_command("completion", "--containers") == 0
    assert capsys.readouterr() == ("", "")


def test_the_shell_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("completion") == 2
    assert run_command("completion", "powershell") == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err
