"""The link that opens a node, and what stands beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from infernet_edge.cli.links import (
    access_lines,
    config_option,
    link_to,
    open_lines,
    own_url,
    token_command,
    urls_of,
)
from infernet_edge.config import load
from infernet_edge.config.model import Config, Server
from infernet_edge.storage.token_file import new_token

OWN = "http://127.0.0.1:4000"
ADDRESS = "http://192.168.1.5:4000"
SIX = "http://[2001:db8:1111:2222:3333:4444:5555:6666]:4000"
NAME = "http://pi-kitchen.local:4000"


@pytest.mark.parametrize(
    ("urls", "link"),
    [
        ([], f"{OWN}/"),
        ([ADDRESS], f"{ADDRESS}/"),
        ([ADDRESS, SIX], f"{ADDRESS}/"),
        ([ADDRESS, SIX, NAME], f"{NAME}/"),
        ([SIX], f"{SIX}/"),
        (["http://box:4000"], "http://box:4000/"),
    ],
)
def test_the_name_that_is_announced_comes_first(urls: list[str], link: str) -> None:
    assert link_to(urls, OWN) == link
    assert list(open_lines(urls, OWN))[1] == f"  {link}"


def test_a_link_with_a_token_fits_in_a_line() -> None:
    token = new_token()
    assert link_to([ADDRESS, NAME], OWN, token) == f"{NAME}/#token={token}"
    long_name = f"http://{'a' * 40}.local:4000"
    assert link_to([ADDRESS, long_name], OWN, token) == f"{ADDRESS}/#token={token}"
    # Nothing fits: it is given whole.
    assert link_to([SIX], "https://" + "b" * 70, token) == f"{SIX}/#token={token}"


def test_what_stands_beside_it() -> None:
    assert "this machine" in next(open_lines([], OWN))
    assert "phone" in next(open_lines([ADDRESS], OWN))
    assert list(open_lines([ADDRESS, NAME], OWN))[2].endswith(f"not found: {ADDRESS}/")
    # Only a name: nothing else to offer.
    assert len(list(open_lines([NAME], OWN))) == 2


@pytest.mark.parametrize("urls", [[], [ADDRESS, SIX, NAME]])
@pytest.mark.parametrize("is_open", [True, False])
def test_who_may_use_it(urls: list[str], *, is_open: bool) -> None:
    lines = list(access_lines(urls, is_open=is_open, sudo=True))
    assert ("Everyone" in lines[0]) is is_open
    name = "owner" if is_open else "NAME"
    assert lines[1] == f"  sudo infernet-edge token new {name} --scope operator"
    assert max(map(len, [*lines, *open_lines(urls, OWN)])) <= 80


def test_the_command_names_the_configuration() -> None:
    option = config_option(Path("my config.toml"))
    assert token_command(option).endswith("--scope operator --config 'my config.toml'")
    assert config_option(None) == ""


@pytest.mark.parametrize(
    ("host", "own", "urls"),
    [
        ("127.0.0.1", OWN, []),
        ("::1", "http://[::1]:4000", []),
        ("localhost", "http://localhost:4000", []),
        ("pi.lan", "http://pi.lan:4000", ["http://pi.lan:4000"]),
        ("192.168.1.5", ADDRESS, [ADDRESS]),
    ],
)
def test_urls_of_a_node_that_does_not_run(host: str, own: str, urls: list[str]) -> None:
    config = Config(server=Server(host=host, port=4000))
    assert own_url(config) == own
    assert urls_of(config) in (urls, [*urls, *urls_of(config)[1:]])


def test_all_addresses() -> None:
    """Those of a running node; a test machine may have none."""
    for host in ("", "0.0.0.0", "::"):
        config = Config(server=Server(host=host, port=4123))
        assert own_url(config) == "http://127.0.0.1:4123"
        found = urls_of(config)
        assert all(url.startswith("http://") and url.endswith(":4123") for url in found)
        assert not any("127.0.0.1" in url or "[::1]" in url for url in found)


def test_with_tls(tmp_path: Path) -> None:
    for name in ("cert", "key"):
        (tmp_path / name).touch()
    file = tmp_path / "config.toml"
    file.write_text('[server]\nhost = "10.0.0.9"\ntls = { cert = "cert", key = "key" }\n')
    assert own_url(load(file, {}).config) == "https://10.0.0.9:4000"
