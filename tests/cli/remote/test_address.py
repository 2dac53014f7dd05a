"""Where a node is: URLs, and tokens from the environment and from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from infernet_edge.cli.remote.address import NodeAddress, WrongUsage, find_token, parse_url
from tests.support.commanding import config_file, run_command


@pytest.mark.parametrize(
    ("url", "expected", "field"),
    [
        ("http://pi:4000", NodeAddress("pi", 4000), "pi:4000"),
        ("http://PI.local:4000/", NodeAddress("pi.local", 4000), "pi.local:4000"),
        ("http://pi", NodeAddress("pi", 80), "pi"),
        ("https://pi.example", NodeAddress("pi.example", 443, secure=True), "pi.example"),
        ("https://h:8443/a/b/", NodeAddress("h", 8443, "/a/b", secure=True), "h:8443"),
        (
            "http://k\u00fcche.example",
            NodeAddress("xn--kche-0ra.example", 80),
            "xn--kche-0ra.example",
        ),
        ("http://[fe80::1%eth0]:4000", NodeAddress("fe80::1%eth0", 4000), "[fe80::1]:4000"),
    ],
)
def test_urls(url: str, expected: NodeAddress, field: str) -> None:
    assert parse_url(url) == expected
    assert parse_url(url).authority_form == field


@pytest.mark.parametrize(
    "url",
    [
        *("", "pi", "pi:4000", "ftp://pi", "http://", "http://:4000", "http://pi:0x1"),
        *("http://pi:70000", "http://[::1", "http://a b", "http://pi\n:4000", "http://a..b"),
        *("http://" + 70 * "a", "http://" + 3000 * "a", "http://pi/\u202e"),
    ],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(WrongUsage, match="expected http://"):
        parse_url(url)


@pytest.mark.parametrize(
    "url", ["http://s3cret@pi", "http://pi/#token=s3cret", "http://pi?t=s3cret"]
)
def test_a_secret_in_a_url_is_not_shown(url: str) -> None:
    with pytest.raises(WrongUsage, match="INFERNET_EDGE_TOKEN") as error:
        parse_url(url)
    assert "s3cret" not in str(error.value)


def test_a_token_from_the_environment_or_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not find_token(None, {})
    assert find_token(None, {"INFERNET_EDGE_TOKEN": " abc\n"}).reveal() == "abc"
    file = tmp_path / "token"
    file.write_text("from-a-file\n")
    file.chmod(0o600)
    assert find_token(file, {"INFERNET_EDGE_TOKEN": "abc"}).reveal() == "from-a-file"
    assert capsys.readouterr().err == ""
    file.chmod(0o640)
    assert find_token(file, {}).reveal() == "from-a-file"
    assert f"chmod 600 {file}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "found nothing"),
        (b"two words", "expected one token"),
        (b"a\r\nx-header: b", "expected one token"),
        (b"\xff\xfe", "not UTF-8"),
        (70_000 * b"a", "larger than"),
        (5000 * b"a", "at most 4096"),
    ],
    ids=["empty", "words", "lines", "binary", "large", "long"],
)
def test_files_without_a_token(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(WrongUsage, match=reason):
        find_token(file, {})
    with pytest.raises(WrongUsage, match="cannot be read"):
        find_token(tmp_path / "absent", {})


def test_wrong_combinations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ["--config", str(config_file(tmp_path, tmp_path))]
    url = ["--url", "http://127.0.0.1:9"]
    file = ["--token-file", str(tmp_path / "token")]
    for arguments, text in (
        ([*url, *config], "leave out one of them"),
        ([*config, *file], "--token-file needs --url"),
        ([*url, *file], "cannot be read"),
        ([*url, "--cacert", "x"], "is for an https URL"),
        (["--url", "https://127.0.0.1:9", "--cacert", "x"], "cannot be read"),
        (["--url", "https://127.0.0.1:9", *["--cacert", config[1]]], "in the form PEM"),
        (["--url", "pi:4000"], "expected http://pi:4000"),
    ):
        assert run_command("cancel", "an-id", *arguments) == 2
        assert text in capsys.readouterr().err


def test_the_url_of_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFERNET_EDGE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("INFERNET_EDGE_TOKEN", "abc")
    assert run_command("cancel", "an-id") == 1
    assert "nothing listens at port 9" in capsys.readouterr().err
    # A configuration that is named says which node is meant, and these are no settings of it.
    config = str(config_file(tmp_path, tmp_path))
    assert run_command("cancel", "an-id", "--config", config) == 1
    assert f"No node runs with the storage {tmp_path}" in capsys.readouterr().err
    assert run_command("check", "--config", config, "--strict") == 0
    monkeypatch.setenv("INFERNET_EDGE_URL", "pi")
    assert run_command("cancel", "an-id") == 2
    assert capsys.readouterr().err.startswith("INFERNET_EDGE_URL: expected http://pi,")
