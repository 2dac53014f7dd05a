"""The page about the API: each of its commands is run against a real node, and answers as shown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import markdown
from tests.support.markdown import DOCS, Block
from tests.support.ports import free_port
from tests.support.process import ServerProcess

_ADDRESS = "NODE=http://127.0.0.1:4000"
_END = "-- end of the block --"


def shape(value: Any) -> Any:
    """The form of an answer: its keys, and the types of its values."""
    if isinstance(value, dict):
        return {name: shape(below) for name, below in value.items()}
    if isinstance(value, list):
        return [shape(below) for below in value[:1]]
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def steps() -> Iterator[tuple[str, Block | None]]:
    """Each block of commands, with the answer that is shown directly behind it."""
    found = list(markdown.blocks((DOCS / "api.md").read_text()))
    for block, behind in zip(found, [*found[1:], None], strict=True):
        if block.kind == "sh":
            shown = behind is not None and behind.kind != "sh" and not behind.between.strip()
            yield block.text, behind if shown else None


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The demo, after its own jobs."""
    folder, port = tmp_path_factory.mktemp("demo"), free_port()
    command = [sys.executable, "-m", "infernet_edge", "demo", "--no-podman", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with ServerProcess(command, url, folder / "log") as process:
        assert process is not None
        yield url


def test_each_command_is_answered_as_it_is_shown(node: str, tmp_path: Path) -> None:
    commands, answers = zip(*steps(), strict=True)
    assert commands[0] == _ADDRESS
    script = tmp_path / "commands"
    script.write_text(f"\necho; echo '{_END}'\n".join([f"NODE={node}", *commands[1:]]))
    done = subprocess.run(
        ["bash", "-eu", script], capture_output=True, text=True, timeout=60, check=True
    )
    outputs = [each.strip() for each in done.stdout.split(_END)]
    assert done.stderr == ""
    assert len(outputs) == len(answers) > 10
    for command, output, answer in zip(commands, outputs, answers, strict=True):
        if answer is None:
            assert not output.startswith('{"error"'), command
        elif answer.kind == "json":
            assert shape(json.loads(output)) == shape(json.loads(answer.text)), command
        else:
            assert re.fullmatch(r"[0-9a-f-]{36}\n\w.*", output), command
