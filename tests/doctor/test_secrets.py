from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.doctor import secrets
from infernet_edge.doctor.finding import Finding
from tests.support.examining import finding
from tests.support.running import configuration

_SECRET = "do-not-tell-anybody"


async def look(folder: Path, document: dict[str, Any], *, inside: bool = True) -> Finding:
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
    found = await look(tmp_path, document)
    assert found == Finding("problem", f"others can read {file}", f"chmod go= {file}")
    assert os.system(found.remedy) == 0
    assert (await finding(secrets, configuration(tmp_path, document), source=file)).level == "ok"
    assert (await look(tmp_path, document, inside=False)).level == "ok"  # they come from elsewhere


async def test_without_secrets_others_may_read_it(tmp_path: Path) -> None:
    assert (await look(tmp_path, {"manage_containers": False})).level == "ok"


async def test_files_that_others_can_read(tmp_path: Path) -> None:
    keystore = tmp_path / "keystore.json"
    keystore.write_text("{}")
    keystore.chmod(0o640)
    (tmp_path / "data").mkdir(mode=0o755)
    (tmp_path / "data").chmod(0o755)
    found = await look(tmp_path, {"chain": {"wallet": {"keystore": str(keystore)}}})
    assert found.level == "problem"
    assert found.remedy == f"chmod go= {keystore} {tmp_path}/data"
    assert os.system(found.remedy) == 0
    assert (await look(tmp_path, {})).level == "ok"
