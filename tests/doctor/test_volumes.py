from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.doctor import volumes
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding
from infernet_edge.doctor.user import user_named
from tests.support.disks import read_only_mount
from tests.support.examining import findings
from tests.support.running import configuration


def with_volumes(*given: str, url: str | None = None) -> dict[str, Any]:
    container = {"id": "llm", "image": "localhost/llm", "volumes": list(given)}
    return {"manage_containers": True, "containers": [container], "podman": {"url": url}}


async def check(folder: Path, *given: str, url: str | None = None) -> list[Finding]:
    return await findings(volumes, configuration(folder, with_volumes(*given, url=url)))


async def test_folders_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "settings.json").touch()
    found = await check(tmp_path, f"{tmp_path}/models:/m", f"{tmp_path}/settings.json:/s:ro,z")
    assert [each.level for each in found] == ["ok", "ok"]
    assert found[0].text.startswith(f"{tmp_path}/models, a volume of llm: ")


async def test_one_that_is_missing(tmp_path: Path) -> None:
    [found] = await check(tmp_path, f"{tmp_path}/the models/llm:/models")
    assert found.level == "problem"
    assert found.command == f"mkdir -p '{tmp_path}/the models/llm'"
    assert os.system(found.command) == 0
    [found] = await check(tmp_path, f"{tmp_path}/the models/llm:/models")
    assert found.level == "ok"


async def test_on_a_disk_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    with read_only_mount(tmp_path / "card"):
        writing, reading = await check(tmp_path, f"{tmp_path}/card:/a", f"{tmp_path}/card:/b:ro")
    assert writing.level == "problem"
    assert writing.command == f"mount -o remount,rw {tmp_path}/card"
    assert reading.level == "ok"


async def test_none_are_of_this_machine(tmp_path: Path) -> None:
    [found] = await check(tmp_path, "named:/models")
    assert found.text.startswith("not needed")
    [found] = await check(tmp_path, f"{tmp_path}:/m", url="tcp://10.0.0.1:8080")
    assert found.level == "unknown"
    [found] = await check(tmp_path, f"{tmp_path}:/m", url=f"unix://{tmp_path}/none.sock")
    assert found.level == "unknown"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that all users may pass, unlike pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's permissions are root's to see")
async def test_the_user_of_the_containers_counts(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = user_named("nobody")
    monkeypatch.setattr(volumes, "_user_of_containers", lambda case: nobody)
    folder = open_folder / "models"
    folder.mkdir(mode=0o700)
    [found] = await check(open_folder, f"{folder}:/models:ro")
    assert found.level == "problem"
    assert found.text.endswith(
        "nobody, the user of the containers, may not read it: it belongs to root"
    )
    assert found.command == f"chown nobody: {folder}"
    folder.chmod(0o755)
    reading, writing = await check(open_folder, f"{folder}:/a:ro", f"{folder}:/b")
    assert (reading.level, writing.level) == ("ok", "problem")
    (folder / "a file of root's").touch()
    [found] = await check(open_folder, f"{folder}:/b")
    assert "chown" not in found.command
    open_folder.chmod(0o700)
    [found] = await check(open_folder, f"{folder}:/models")
    assert f"may not enter {open_folder}" in found.text


async def test_paths_of_the_service(tmp_path: Path) -> None:
    """Its folder is /, and its home is that of its account."""
    case = Case(configuration(tmp_path, with_volumes()))
    case.is_service = True
    case.user = user_named("root")
    assert case.user is not None
    assert volumes._absolute(case, "models") == Path("/models")  # noqa: SLF001
    assert volumes._absolute(case, "~/models") == case.user.home / "models"  # noqa: SLF001
    await case.close()
