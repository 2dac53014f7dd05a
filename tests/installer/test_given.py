from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import pytest

from infernet_edge.config import load
from infernet_edge.config.model import DATABASE
from infernet_edge.config.secret_files import Secret
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.installer.given import (
    copies,
    database_elsewhere,
    folders_before,
    token_copy,
    tokens_elsewhere,
)
from infernet_edge.installer.steps import carry_out
from infernet_edge.storage.token_file import (
    FILE_NAME,
    Anchor,
    MadeToken,
    StoredTokens,
    TokenFile,
    hash_of,
)


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


def token(name: str, revoked_at: int | None = None) -> MadeToken:
    return MadeToken(name, "operator", hash_of(name.encode()), 1, revoked_at=revoked_at)


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """The storage of a node that has tokens."""
    folder = tmp_path / "share/infernet-edge"
    folder.mkdir(parents=True)
    tokens = [token("owner"), token("phone"), token("lost", 5)]
    TokenFile(folder).write(StoredTokens(tokens, Anchor(10, 10)))
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"XDG_DATA_HOME": str(tmp_path / "share")}


@pytest.fixture
def given(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text("[server]\nport = 4001\n")
    return file


@pytest.mark.parametrize("is_given", [True, False])
def test_tokens_go_with_a_node(
    tmp_path: Path, before: Path, given: Path, environment: dict[str, str], *, is_given: bool
) -> None:
    """Also without a configuration; the copy is the node's own from then on."""
    used, source = tmp_path / "state", given if is_given else None
    steps = token_copy(source, used, "", environment)
    logged: list[str] = []
    carry_out(steps, logged.append, dry_run=True)
    assert logged[-1] == f"Copy the tokens of {before} to {used} (valid: owner, phone)"
    assert not used.exists()
    carry_out(steps, logged.append)
    copied = TokenFile(used).read()
    assert [each.name for each in copied.valid] == ["owner", "phone"]
    assert [each.name for each in copied.tokens if each.revoked_at] == ["lost"]
    assert copied.anchor is None
    assert (used / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert used.stat().st_mode & 0o777 == 0o700
    assert tokens_elsewhere(source, used, environment) == ""
    TokenFile(before).write(StoredTokens([token("owner"), token("new")]))
    assert token_copy(source, used, "", environment) == []
    note = tokens_elsewhere(source, used, environment)
    assert f"refuses the tokens of {before} (new)" in note
    assert "sudo infernet-edge token new" in note


def test_tokens_of_a_folder_that_both_use(
    before: Path, given: Path, environment: dict[str, str]
) -> None:
    given.write_text(f'[storage]\npath = "{before}"\n')
    assert token_copy(given, before, "", environment) == []
    assert tokens_elsewhere(given, before, environment) == ""


def test_tokens_of_a_relative_folder(tmp_path: Path, before: Path, given: Path) -> None:
    given.write_text('[storage]\npath = "share/infernet-edge"\n')
    used = tmp_path / "state/share/infernet-edge"
    carry_out(token_copy(given, used, "", {}), lambda text: None)
    assert len(TokenFile(used).read().valid) == 2


def test_no_tokens_no_copy(tmp_path: Path, given: Path, environment: dict[str, str]) -> None:
    used, folder = tmp_path / "state", tmp_path / "share/infernet-edge"
    assert token_copy(given, used, "", environment) == []
    folder.mkdir(parents=True)
    TokenFile(folder).write(StoredTokens([token("lost", 5)]))
    assert token_copy(given, used, "", environment) == []
    assert tokens_elsewhere(given, used, environment) == ""


def test_damaged_tokens_do_not_open_the_service(
    tmp_path: Path, before: Path, given: Path, environment: dict[str, str]
) -> None:
    (before / FILE_NAME).write_text("{")
    with pytest.raises(InfernetEdgeError, match="cannot be copied") as raised:
        token_copy(given, tmp_path / "state", "", environment)
    assert "move it away" in str(raised.value)
    assert tokens_elsewhere(given, tmp_path / "state", environment) == ""


def test_under_sudo_the_folder_is_that_of_the_user(tmp_path: Path, given: Path) -> None:
    """sudo sets HOME to root's."""
    nobody = pwd.getpwnam("nobody")
    home = Path(nobody.pw_dir)
    environment = {"SUDO_UID": str(nobody.pw_uid), "XDG_DATA_HOME": str(tmp_path / "roots")}
    folders = [home / ".local/share/infernet-edge", tmp_path / "roots/infernet-edge"]
    assert folders_before(None, environment) == folders
    if os.geteuid() == 0:
        assert folders_before(given, environment) == folders
        os.chown(given, nobody.pw_uid, nobody.pw_gid)
        environment["SUDO_UID"] = "0"
        assert folders_before(given, environment) == folders
        given.write_text('[storage]\npath = "~/node"\n')
        assert folders_before(given, environment)[0] == home / "node"
        given.write_text('[storage]\npath = "/srv/node"\n')
        assert folders_before(given, environment) == [Path("/srv/node")]
        given.write_text("[storage\n")
        assert folders_before(given, environment) == folders
    environment["SUDO_UID"] = "nobody"
    assert folders_before(None, environment) == folders[1:]
    environment["SUDO_UID"] = "4123456789"
    assert folders_before(None, environment) == folders[1:]
