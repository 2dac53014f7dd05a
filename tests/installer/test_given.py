from __future__ import annotations

import json
from pathlib import Path

import pytest

from infernet_edge.config import load
from infernet_edge.config.model import DATABASE
from infernet_edge.config.secret_files import Secret
from infernet_edge.installer.given import copies, database_elsewhere
from infernet_edge.installer.steps import carry_out


@pytest.mark.parametrize("form", ["toml", "json"])
def test_secrets_beside_a_configuration_go_with_it(tmp_path: Path, form: str) -> None:
    """Only those that it names; what is elsewhere stays there."""
    home, settings = tmp_path / "home", tmp_path / "etc"
    (home / "secrets").mkdir(parents=True)
    for name in ("token", "unused"):
        (home / "secrets" / name).write_text(f"{name}-secret\n")
        (home / "secrets" / name).chmod(0o600)
    (home / "mine").write_text("mine-secret\n")
    (home / "mine").chmod(0o600)
    given = home / f"my.{form}"
    env = {name: {"file": str(home / at)} for name, at in (("A", "secrets/token"), ("B", "mine"))}
    if form == "json":
        given.write_text(json.dumps({"containers": [{"id": "a", "image": "a", "env": env}]}))
    else:
        values = ", ".join(f'{name} = {{ file = "{at["file"]}" }}' for name, at in env.items())
        given.write_text(
            f'# my node\n[[containers]]\nid = "a"\nimage = "a"\nenv = {{ {values} }}\n'
        )
    logged: list[str] = []
    carry_out(copies(given, settings, ""), logged.append, dry_run=True)
    assert "-secret" not in "\n".join(logged)
    assert not settings.exists()
    carry_out(copies(given, settings, ""), logged.append)
    assert sorted(each.name for each in (settings / "secrets").iterdir()) == ["token"]
    assert (settings / "secrets/token").stat().st_mode & 0o777 == 0o600
    assert (settings / "secrets").stat().st_mode & 0o777 == 0o700
    config = load(settings / f"config.{form}", {}).config
    found = config.containers[0].env
    assert found == {"A": Secret("token-secret"), "B": Secret("mine-secret")}
    assert isinstance(found["A"], Secret)
    assert isinstance(found["B"], Secret)
    assert (found["A"].file, found["B"].file) == (settings / "secrets/token", home / "mine")
    assert copies(given, settings, "")[-1].needed() is False


def test_a_database_that_the_service_does_not_use_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path means another folder after the copy, so the jobs would seem lost."""
    home, state = tmp_path / "home", tmp_path / "state"
    (home / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    given = home / "config.json"
    given.write_text('{"storage": {"path": "data"}}')
    environment = {"STATE_DIRECTORY": str(state), "HOME": str(tmp_path)}
    assert database_elsewhere(given, state / "data", environment) == ""
    (home / "data" / DATABASE).touch()
    note = database_elsewhere(given, state / "data", environment)
    assert f"stay in {home / 'data'}" in note
    assert f"its own in {state / 'data'}" in note
    assert database_elsewhere(given, home / "data", environment) == ""
