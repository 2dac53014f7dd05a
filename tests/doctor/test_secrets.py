from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.doctor import secrets
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding
from infernet_edge.doctor.user import user_named
from tests.support.examining import finding
from tests.support.running import configuration

_SECRET = "do-not-tell-anybody"


async def check(folder: Path, document: dict[str, Any], *, inside: bool = True) -> Finding:
    """What is said when the configuration's file holds the secrets itself, or does not."""
    source = folder / "config.json"
    source.write_text(json.dumps(document if inside else {}))
    source.chmod(0o644)
    return await finding(secrets, configuration(folder, document), source=source)


@pytest.mark.parametrize(
    "document",
    [
        {"server": {"tokens": {"phone": _SECRET}}},
        {"docker": {"username": "me", "password": _SECRET}},
        {"containers": [{"id": "a", "url": "http://10.0.0.1", "bearer": _SECRET}]},
        {"chain": {"wallet": {"private_key": _SECRET}}},
    ],
)
async def test_a_configuration_that_others_can_read(
    tmp_path: Path, document: dict[str, Any]
) -> None:
    file = tmp_path / "config.json"
    found = await check(tmp_path, document)
    assert (found.level, found.command) == ("problem", f"chmod go= {file}")
    assert found.text == f"others can read {file} (mode 644)"
    assert os.system(found.command) == 0
    assert (await finding(secrets, configuration(tmp_path, document), source=file)).level == "ok"
    assert (await check(tmp_path, document, inside=False)).level == "ok"  # they come from elsewhere


async def test_a_key_file_that_the_configuration_names(tmp_path: Path) -> None:
    """Its loading warns of it, too; the command is found here."""
    key = tmp_path / "the key"
    key.write_text(_SECRET)
    key.chmod(0o644)
    named = {"file": str(key)}
    for document in (
        {"server": {"tokens": {"phone": named}}},
        {"containers": [{"id": "a", "url": "http://10.0.0.1", "env": {"TOKEN": named}}]},
    ):
        key.chmod(0o644)
        found = await check(tmp_path, document)
        assert (found.level, found.command) == ("problem", f"chmod go= '{key}'")
        assert os.system(found.command) == 0
        assert (await check(tmp_path, document)).level == "ok"


@pytest.mark.skipif(os.geteuid() != 0, reason="files can be given away by root alone")
async def test_what_the_nodes_user_may_not_read(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    key = folder / "key"
    key.write_text(_SECRET)
    key.chmod(0o600)
    config = configuration(tmp_path, {"server": {"tokens": {"phone": {"file": str(key)}}}})
    case = Case(config)
    case.user = user_named("nobody")
    [found] = await secrets.check(case)
    assert found.text == f"nobody, the user of the node, may not read {key}"
    assert os.system(found.command) == 0
    assert [each.level for each in await secrets.check(case)] == ["ok"]
    folder.chmod(0o700)
    os.chown(key, 0, 0)
    [found] = await secrets.check(case)
    assert found.command == ""  # it would not help
    await case.close()
    shutil.rmtree(folder)


async def test_without_secrets_others_may_read_it(tmp_path: Path) -> None:
    assert (await check(tmp_path, {"manage_containers": False})).level == "ok"


async def test_files_that_others_can_read(tmp_path: Path) -> None:
    keystore = tmp_path / "keystore.json"
    keystore.write_text("{}")
    keystore.chmod(0o640)
    (tmp_path / "data").mkdir(mode=0o755)
    (tmp_path / "data").chmod(0o755)
    found = await check(tmp_path, {"chain": {"wallet": {"keystore": str(keystore)}}})
    assert found.level == "problem"
    assert found.command == f"chmod go= {keystore} && chmod go= {tmp_path}/data"
    assert os.system(found.command) == 0
    assert (await check(tmp_path, {})).level == "ok"
