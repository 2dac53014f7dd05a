"""server.tokens: texts, files, and tables with a scope and an expiry."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from infernet_edge.api.access.permissions import SCOPES
from infernet_edge.config import ConfigurationError, load
from infernet_edge.config.loading import build
from infernet_edge.config.secret_files import Secret
from infernet_edge.config.values.tokens import Token, secret_of
from infernet_edge.schema import TokenScope

TEXT = "0123456789abcdef"


def built(token: Any, **environment: str) -> Secret | Token:
    names = {f"INFERNET_EDGE_SERVER__TOKENS__{key}": text for key, text in environment.items()}
    document = {"server": {"tokens": {} if token is None else {"bob": token}}}
    return build(document, "a test", names)[0].server.tokens["bob"]


def problems(token: Any) -> dict[str, tuple[str, str]]:
    with pytest.raises(ConfigurationError) as refused:
        built(token)
    assert "hunter2" not in str(refused.value)
    return {each.path: (each.found, each.expected) for each in refused.value.problems}


def test_a_text_and_a_file_stay_what_they_were(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TEXT}\n")
    file.chmod(0o600)
    assert built(TEXT) == Secret(TEXT)
    assert built({"file": str(file)}) == Secret(TEXT)


def test_a_table(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TEXT}\n")
    file.chmod(0o600)
    table = built({"token": TEXT, "scope": "operator", "expires": "2027-01-01"})
    assert table == Token(Secret(TEXT), scope="operator", expires="2027-01-01")
    assert secret_of(table) == Secret(TEXT)
    for form in (
        {"file": str(file), "scope": "read"},
        {"token": {"file": str(file)}, "scope": "read"},
    ):
        table = built(form)
        assert isinstance(table, Token)
        assert (secret_of(table), table.scope, table.expires) == (Secret(TEXT), "read", "")
        assert secret_of(table).file == file
    dated = built({"token": TEXT, "expires": datetime.date(2027, 1, 1)})  # as TOML has it
    assert isinstance(dated, Token)
    assert dated.expires == "2027-01-01"


def test_a_table_of_toml_with_a_relative_file(tmp_path: Path) -> None:
    (tmp_path / "phone").write_text(TEXT)
    path = tmp_path / "config.toml"
    path.write_text(
        '[server.tokens]\nphone = { file = "phone", scope = "metrics", expires = 2027-01-01 }\n'
        "[server.tokens.lab]\n"
        f'token = "{TEXT}x"\nexpires = 2027-01-01T12:00:00Z\n'
    )
    tokens = load(path, {}).config.server.tokens
    phone, lab = tokens["phone"], tokens["lab"]
    assert isinstance(phone, Token)
    assert isinstance(lab, Token)
    assert (secret_of(phone), phone.scope, phone.expires) == (Secret(TEXT), "metrics", "2027-01-01")
    assert (lab.scope, lab.expires) == ("submit", "2027-01-01T12:00:00+00:00")


@pytest.mark.parametrize(
    ("token", "path", "found"),
    [
        ({"token": TEXT, "scope": "admin"}, "server.tokens.bob.scope", '"admin"'),
        ({"token": TEXT, "scope": ["read"]}, "server.tokens.bob.scope", "a list"),
        ({"token": TEXT, "expires": "soon"}, "server.tokens.bob.expires", '"soon"'),
        ({"token": TEXT, "expires": "30d"}, "server.tokens.bob.expires", '"30d"'),
        ({"token": TEXT, "expires": 5}, "server.tokens.bob.expires", "5"),
        ({"token": TEXT, "scop": "read"}, "server.tokens.bob.scop", "an unknown key"),
        ({"token": TEXT, "file": "/x"}, "server.tokens.bob", "token and file"),
        ({"scope": "read"}, "server.tokens.bob", "neither token nor file"),
        ({"token": None, "scope": "read"}, "server.tokens.bob", "neither token nor file"),
        ({}, "server.tokens.bob", "neither token nor file"),
        ({"token": "hunter2", "scope": "read"}, "server.tokens.bob", "a short text"),
        ({"token": 5, "scope": "read"}, "server.tokens.bob.token", "a number"),
        ({"token": f"{TEXT}\nhunter2"}, "server.tokens.bob", "text with a control character"),
        ({"file": 5, "scope": "read"}, "server.tokens.bob.file", "a number"),
        ("hunter2", "server.tokens.bob", "a short text"),
        ("", "server.tokens.bob", "a short text"),
    ],
)
def test_each_error_has_its_place(token: Any, path: str, found: str) -> None:
    assert problems(token)[path][0] == found
    assert len(problems(token)) == 1


def test_a_file_that_is_missing_is_named_at_its_key(tmp_path: Path) -> None:
    found = problems({"file": str(tmp_path / "none"), "scope": "read"})
    assert list(found) == ["server.tokens.bob.file"]
    assert "No such file" in found["server.tokens.bob.file"][0]


def test_a_table_from_the_environment() -> None:
    whole = built(None, bob=f'{{"token": "{TEXT}", "scope": "read"}}')
    parts = built(None, bob__TOKEN=TEXT, bob__SCOPE="read")
    mixed = built({"token": TEXT}, bob__SCOPE="read")
    assert whole == parts == mixed == Token(Secret(TEXT), scope="read")


def test_a_credential_is_the_token_of_a_table_without_one(tmp_path: Path) -> None:
    (tmp_path / "server.tokens.bob").write_text(TEXT)
    (tmp_path / "server.tokens.eve").write_text(TEXT)
    document = {"server": {"tokens": {"bob": {"scope": "operator"}}}}
    config, _ = build(document, "a test", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert config.server.tokens == {
        "bob": Token(Secret(TEXT), scope="operator"),
        "eve": Secret(TEXT),
    }


def test_the_scopes_are_those_of_the_api() -> None:
    assert set(get_args(get_type_hints(Token)["scope"])) == set(SCOPES)
    assert set(get_args(TokenScope)) == set(SCOPES)
