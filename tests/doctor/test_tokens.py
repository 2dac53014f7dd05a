from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from infernet_edge.doctor import tokens
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.user import user_named
from infernet_edge.storage.token_file import FILE_NAME
from tests.support.examining import finding
from tests.support.running import configuration
from tests.support.tokens import tokens_of


async def test_a_node_without_tokens(tmp_path: Path) -> None:
    here = await finding(tokens, configuration(tmp_path))
    assert (here.level, here.text) == ("ok", "none; only this machine reaches the node")
    public = configuration(tmp_path, {"server": {"host": "0.0.0.0"}})
    found = await finding(tokens, public)
    assert found.level == "ok"
    assert "everyone on the network may submit jobs" in found.text
    assert "token new NAME --scope submit" in found.text


async def test_tokens_are_counted(tmp_path: Path) -> None:
    config = configuration(tmp_path, {"server": {"tokens": {"bob": "0123456789abcdef"}}})
    config.storage_path.mkdir()
    await tokens_of({}, config.storage_path).create("phone", "read", None)
    found = await finding(tokens, config)
    assert found.text == "1 made, 1 in server.tokens: every client needs one"


async def test_a_damaged_file(tmp_path: Path) -> None:
    config = configuration(tmp_path)
    config.storage_path.mkdir()
    (config.storage_path / FILE_NAME).write_bytes(b"")
    found = await finding(tokens, config)
    assert found.level == "problem"
    assert "the node stays closed" in found.text
    assert "token new NAME --scope SCOPE --replace-damaged" in found.remedy


@pytest.mark.skipif(os.geteuid() != 0, reason="files can be given away by root alone")
async def test_a_file_that_the_user_of_the_node_may_not_read(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    await tokens_of({}, folder).create("phone", "read", None)
    case = Case(configuration(tmp_path, {"storage": {"path": str(folder)}}))
    case.user = user_named("nobody")
    found = await tokens.check(case)
    assert found.text.startswith(f"nobody, the user of the node, may not read {folder / FILE_NAME}")
    assert os.system(found.command) == 0
    assert (await tokens.check(case)).level == "ok"
    await case.close()
    shutil.rmtree(folder)
