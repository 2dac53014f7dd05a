"""The sources of a configuration."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.config import ConfigurationError, sources
from tests.support.process import ROOT


def test_the_order_of_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    system = (tmp_path / "etc" / "config.json", tmp_path / "etc" / "config.toml")
    monkeypatch.setattr(sources, "SYSTEM_FILES", system)
    named = tmp_path / "named.json"
    environment = {"INFERNET_CONFIG_PATH": str(tmp_path / "env.json")}

    assert sources.find_file(None, {}) is None
    (tmp_path / "etc").mkdir()
    for later in (system[1], system[0]):
        later.write_text("{}")
        assert sources.find_file(None, {}) == later
    for here in (Path("config.toml"), Path("config.json")):
        here.touch()
        assert sources.find_file(None, {}) == here
    # A file that was named is taken whether it exists or not.
    assert sources.find_file(None, environment) == tmp_path / "env.json"
    assert sources.find_file(named, environment) == named
    assert sources.find_file(None, {"INFERNET_CONFIG_PATH": ""}) == Path("config.json")


def test_folders_that_this_user_may_not_enter() -> None:
    """The system's configuration is not ignored then; the current folder's is."""
    with tempfile.TemporaryDirectory() as base:
        (closed := Path(base, "closed")).mkdir()
        Path(base).chmod(0o755)
        code = (
            "import os; from pathlib import Path; from infernet_edge.config import sources;"
            f"sources.SYSTEM_FILES = (Path({str(closed)!r}, 'config.json'),);"
            f"os.chdir({str(closed)!r}); os.chmod('.', 0);"
            "os.geteuid() or os.setuid(12345);"
            "print(sources.find_file(None, {}))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30
        )
        assert done.stdout == f"{closed}/config.json\n", done.stderr


def test_json_and_toml_are_the_same(tmp_path: Path) -> None:
    json_file, toml_file = tmp_path / "c.json", tmp_path / "c.toml"
    json_file.write_text(
        '{"server":{"port":4001,"tokens":{"bob":"x"}},'
        '"containers":[{"id":"a","env":{"É":"ü"},"cpus":0.5},{"id":"b"}]}'
    )
    toml_file.write_text(
        '[server]\nport = 4001\n[server.tokens]\nbob = "x"\n'
        '[[containers]]\nid = "a"\ncpus = 0.5\n[containers.env]\n"É" = "ü"\n'
        '[[containers]]\nid = "b"\n'
    )
    assert sources.read_file(json_file) == sources.read_file(toml_file)


def test_a_byte_order_mark_is_not_an_error(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_bytes(b"\xef\xbb\xbf{}")
    assert sources.read_file(file) == {}


UNREADABLE: list[tuple[str, bytes, str]] = [
    ("c.json", b"", "JSON"),
    ("c.json", b"{", "JSON"),
    ("c.json", b"{'a': 1}", "JSON"),
    ("c.json", b'{"a": 1,}', "JSON"),
    ("c.json", b"\xff", "JSON"),
    ("c.json", b"[]", "object"),
    ("c.json", b"null", "object"),
    ("c.json", b"[" * 100_000, "deeply"),
    ("c.json", b" " * (4 * 2**20 + 1), "bytes"),
    ("c.toml", b"a = ", "TOML"),
    ("c.toml", b"\xff", "TOML"),
    ("c.toml", b'a = "x"\na = "y"', "TOML"),
    ("c.toml", b"a = " + b"[" * 100_000, "deeply"),
    ("c.toml", b"a = " + b"1" * 5000, "TOML"),
]


@pytest.mark.parametrize(("name", "content", "reason"), UNREADABLE)
def test_a_file_that_cannot_be_decoded(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason) as refused:
        sources.read_file(file)
    assert str(file) in str(refused.value)
    assert len(refused.value.problems) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.json", b'{"chain": {"wallet": {"private_key": "hunter2" "x"}}}'),
        ("c.json", b'{"private_key": hunter2}'),
        ("c.toml", b'private_key = "hunter2'),
        ("c.toml", b"private_key = hunter2"),
        ("c.toml", b'"hunter2" = 1\n"hunter2" = 2'),
    ],
)
def test_the_text_around_an_error_is_not_shown(tmp_path: Path, name: str, content: bytes) -> None:
    """It may be a secret."""
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as refused:
        sources.read_file(file)
    assert "hunter2" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for file in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(ConfigurationError, match="no readable file"):
            sources.read_file(file)


def applied(document: dict[str, Any], **environment: str) -> dict[str, Any]:
    named = {f"INFERNET_EDGE_{name}": value for name, value in environment.items()}
    sources.apply_environment(document, {"PATH": "/bin", **named})
    return document


def test_the_environment_overrides_the_file() -> None:
    document: dict[str, Any] = {"server": {"port": 1, "host": "x"}, "containers": [{"id": "a"}]}
    applied(
        document,
        SERVER__PORT="4001",
        MANAGE_CONTAINERS="false",
        CONTAINERS__0__IMAGE="b",
        CHAIN__WALLET__PRIVATE_KEY="x",
    )
    assert document == {
        "server": {"port": "4001", "host": "x"},
        "manage_containers": "false",
        "containers": [{"id": "a", "image": "b"}],
        "chain": {"wallet": {"private_key": "x"}},
    }


def test_names_that_users_choose_keep_their_case() -> None:
    document: dict[str, Any] = {"containers": [{"id": "a"}]}
    applied(
        document,
        CONTAINERS__0__ENV__My_Name="x",
        CONTAINERS__0__ENV__HF_TOKEN="z",
        server__TOKENS__Bob="y",
    )
    assert document["containers"][0]["env"] == {"My_Name": "x", "HF_TOKEN": "z"}
    assert document["server"]["tokens"] == {"Bob": "y"}


def test_a_null_in_the_file_is_filled() -> None:
    assert applied({"server": None}, SERVER__PORT="1") == {"server": {"port": "1"}}


@pytest.mark.parametrize(
    "name", ["CONTAINERS__7__ID", "CONTAINERS__X__ID", "SERVER__PORT__BELOW", "CONTAINERS__0", ""]
)
def test_a_path_that_does_not_exist_is_ignored(name: str) -> None:
    applied({"containers": [{"id": "a"}], "server": {"port": 1}}, **{name: "x"})


def test_credentials_set_what_the_file_does_not(tmp_path: Path) -> None:
    for name in (
        "chain.wallet.private_key",
        "chain.wallet.keystore_password",
        "docker.password",
        "server.tokens.bob",
        "server.tokens.dotted.name",
        "containers.a.bearer",
        "containers.b.c.bearer",
        "containers.ghost.bearer",
        "something.else",
    ):
        (tmp_path / name).write_text(f" secret of {name}\n")
    document: dict[str, Any] = {
        "docker": {"password": "from the file"},
        "containers": [{"id": "a"}, {"id": "b.c"}, {"id": "d", "bearer": "own"}, "rubbish"],
    }
    sources.apply_credentials(document, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert document == {
        "docker": {"password": "from the file"},
        "chain": {
            "wallet": {
                "private_key": "secret of chain.wallet.private_key",
                "keystore_password": "secret of chain.wallet.keystore_password",
            }
        },
        "server": {
            "tokens": {
                "bob": "secret of server.tokens.bob",
                "dotted.name": "secret of server.tokens.dotted.name",
            }
        },
        "containers": [
            {"id": "a", "bearer": "secret of containers.a.bearer"},
            {"id": "b.c", "bearer": "secret of containers.b.c.bearer"},
            {"id": "d", "bearer": "own"},
            "rubbish",
        ],
    }


def test_without_credentials_nothing_changes(tmp_path: Path) -> None:
    for environment in ({}, {"CREDENTIALS_DIRECTORY": str(tmp_path / "absent")}):
        document: dict[str, Any] = {}
        sources.apply_credentials(document, environment)
        assert document == {}


def test_an_invalid_folder_of_credentials(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file/x"):
        sources.apply_credentials({}, {"CREDENTIALS_DIRECTORY": str(folder)})
    with pytest.raises(ConfigurationError, match="File name too long"):
        sources.apply_credentials({}, {"CREDENTIALS_DIRECTORY": "/" + "a" * 300})


def test_a_credential_that_cannot_be_read_is_named_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "docker.password").write_bytes(b"hunter2\xff")
    with pytest.raises(ConfigurationError, match=r"docker\.password") as refused:
        sources.apply_credentials({}, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{\n  "a": 1\n  "b": 2\n}', "JSON at line 3, column 3 (Expecting ',' delimiter)"),
        (b'{\n  "a": 1,\n}', "remove the comma before }"),
        (b'{"a": [1,\n]}', "remove the comma before ]"),
        (b'{\n  // port\n  "a": 1}', "line 2, column 3 (Expecting property name enclosed in"),
        (b'{\n  // port\n  "a": 1}', "JSON has no comments"),
        (b"{'a': 1}", "JSON has double quotes only"),
        (b'{\n\n "a": NaN}', "line 3, column 7 (JSON is malformed"),
        ('{"é": 1,\n "ü" 2}'.encode(), "line 2, column 6 (Expecting ':' delimiter)"),
        (b'\xef\xbb\xbf{"a" 1}', "line 1, column 6"),
        (b'{"a": 1,\n "b": "\xff"}', "bytes that are not UTF-8 at line 2, column 8"),
        (b"", "line 1, column 1"),
        (b'{"a": 1}}', "line 1, column 9 (Extra data)"),
    ],
)
def test_the_place_of_an_error_is_named(tmp_path: Path, content: bytes, place: str) -> None:
    file = tmp_path / "c.json"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as refused:
        sources.read_file(file)
    assert place in str(refused.value)


def test_the_place_of_an_error_in_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("a = 1\nb = ]\n")
    with pytest.raises(ConfigurationError, match="at line 2, column 5"):
        sources.read_file(file)
