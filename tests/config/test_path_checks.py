"""Checks of the paths of a configuration."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.config import ConfigurationError
from infernet_edge.config.loading import build
from infernet_edge.config.path_checks import (
    certificate_flaw,
    expanded,
    file_flaw,
    folder_flaw,
    new_file_flaw,
    socket_flaw,
    source_flaw,
)
from tests.support.process import ROOT


def problems(document: dict[str, Any], **environment: str) -> dict[str, str]:
    try:
        build(document, "x", environment)
    except ConfigurationError as error:
        return {problem.path: str(problem) for problem in error.problems}
    return {}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "loop").symlink_to("loop")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("file/x", "file is not a folder"),
        ("file/x/y/z", "file is not a folder"),
        ("nowhere/x", "nowhere is a broken link"),
        ("loop/x", "loop: "),
        ("a" * 256, "a name of more than 255 bytes"),
        ("ä" * 128 + "/x", "a name of more than 255 bytes"),
        ("missing/" + "a" * 256 + "/x", "a name of more than 255 bytes"),
        ("a/" * 2100, "is longer than 409"),
    ],
    ids=lambda text: text[:20],
)
def test_invalid_paths(base: Path, name: str, word: str) -> None:
    text = f"{base}/{name}"
    for found in (folder_flaw(text), file_flaw(text), new_file_flaw(text, 4), source_flaw(text)):
        assert word in found


def test_valid_paths(base: Path) -> None:
    for name in ("", "folder", "folder/x/y", "missing", "a" * 255, "folder/../folder"):
        assert folder_flaw(f"{base}/{name}") == source_flaw(f"{base}/{name}") == ""
    assert new_file_flaw(f"{base}/file", 4) == new_file_flaw(f"{base}/missing/x", 4) == ""
    assert new_file_flaw(f"{base}/{'a' * 251}", 4) == ""
    assert file_flaw(f"{base}/file") == ""
    assert file_flaw("/dev/null") == source_flaw("/dev/null") == ""


def test_paths_of_another_kind(base: Path) -> None:
    assert folder_flaw(f"{base}/file") == "is not a folder"
    assert new_file_flaw(f"{base}/folder", 4) == file_flaw(f"{base}/folder") == "is a folder"
    assert file_flaw(f"{base}/missing") == "does not exist"
    assert "a name of more than 251 bytes" in new_file_flaw(f"{base}/{'a' * 252}", 4)
    assert folder_flaw(str(base), max_bytes=5) == "is longer than 5 bytes"


def test_relative_paths(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(base / "folder")
    assert folder_flaw("x") == ""
    assert "is not a folder" in folder_flaw("../file/x")
    (base / "folder").rmdir()
    assert "the current folder cannot be found" in folder_flaw("x")


def test_a_folder_that_this_user_may_not_enter_is_not_an_error() -> None:
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent, "closed")
        folder.mkdir(mode=0o000)
        Path(parent).chmod(0o755)
        code = f"print(repr(folder_flaw({str(folder / 'x/y')!r})))"
        if os.geteuid() == 0:  # root may enter everything
            code = f"import os; os.setuid(12345); {code}"
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                f"from infernet_edge.config.path_checks import folder_flaw; {code}",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.stdout == "''\n", done.stderr


def test_sockets() -> None:
    assert socket_flaw("/run/podman/podman.sock") == ""
    assert socket_flaw("run/podman.sock") == socket_flaw("") == "is not an absolute path"
    assert socket_flaw("/" + "a" * 107) == "is longer than 107 bytes"


def test_homes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/bob")
    assert expanded("~/x") == Path("/home/bob/x")
    with pytest.raises(ValueError, match="user nobody-here has no home folder"):
        expanded("~nobody-here/x")
    assert "user nobody-here" in folder_flaw("~nobody-here/x")


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"storage": {"path": "{file}/x"}}, "storage.path"),
        ({"storage": {"path": "{file}"}}, "storage.path"),
        ({"storage": {"path": "~nobody-here/x"}}, "storage.path"),
        ({"storage": {"path": "/x" * 300}}, "storage.path"),
        ({"log": {"path": "{file}/x"}}, "log.path"),
        ({"log": {"path": "/tmp"}}, "log.path"),
        ({"log": {"path": "/tmp/" + "a" * 253}}, "log.path"),
        ({"server": {"tls": {"cert": "/tmp", "key": "/dev/null"}}}, "server.tls.cert"),
        ({"server": {"tls": {"cert": "/dev/null", "key": "{file}/x"}}}, "server.tls.key"),
        ({"server": {"tls": {"cert": "~nobody-here", "key": "/dev/null"}}}, "server.tls.cert"),
        ({"containers": [{"volumes": ["{file}/x:/y"]}]}, "containers[0].volumes[0]"),
        ({"containers": [{"volumes": ["~nobody-here/x:/y"]}]}, "containers[0].volumes[0]"),
        ({"containers": [{"volumes": [":/y"]}]}, "containers[0].volumes[0]"),
        ({"podman": {"url": "unix:///" + "a" * 107}}, "podman.url"),
        ({"podman": {"url": "unix://podman.sock"}}, "podman.url"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_check_reports_invalid_paths(base: Path, document: dict[str, Any], key: str) -> None:
    def here(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: here(item) for name, item in value.items()}
        if isinstance(value, list):
            return [here(item) for item in value]
        return value.replace("{file}", str(base / "file"))

    made = here(document)
    for container in made.get("containers", []):
        container |= {"id": "a", "image": "b"}
    assert list(problems(made)) == [key]


def test_a_keystore(base: Path) -> None:
    def chain(keystore: str) -> dict[str, Any]:
        wallet = {"keystore": keystore, "keystore_password": "x"}
        address = "0x" + "aB" * 20
        chain = {"enabled": True, "rpc_url": "http://a", "registry_address": address}
        return {"chain": {**chain, "wallet": wallet}}

    assert problems(chain(f"{base}/file")) == {}
    for wrong in (f"{base}/file/x", f"{base}/folder", "~nobody-here/x", "a" * 300):
        assert list(problems(chain(wrong))) == ["chain.wallet.keystore"]


def test_folders_of_the_environment(base: Path) -> None:
    assert "file is not a folder" in problems({}, XDG_DATA_HOME=f"{base}/file")["storage.path"]
    assert "is not a folder" in problems({}, STATE_DIRECTORY=f"{base}/file")["storage.path"]
    assert problems({}, STATE_DIRECTORY=f"{base}/folder/x") == {}


def test_homes_and_current_folders_that_are_not_utf8(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = base / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    monkeypatch.setenv("HOME", str(odd))
    assert "text that is not UTF-8" in problems({})["storage.path"]
    monkeypatch.chdir(odd)
    assert "text that is not UTF-8" in problems({"storage": {"path": "x"}})["storage.path"]
    assert problems({"storage": {"path": str(base / "x")}}) == {}


def test_certificates_may_be_in_the_home_folder(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(base))
    config, _ = build({"server": {"tls": {"cert": "~/file", "key": "~/file"}}}, "x", {})
    assert config.server.tls is not None
    assert config.server.tls.cert == config.server.tls.key == str(base / "file")


def test_a_certificate_is_read_with_its_key(tmp_path: Path) -> None:
    def make(name: str, *options: str) -> tuple[str, str]:
        cert, key = str(tmp_path / f"{name}.pem"), str(tmp_path / f"{name}.key")
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-days",
            "2",
            "-subj",
            "/CN=edge",
        ]
        written = [*command, *options, "-out", cert, "-keyout", key]
        subprocess.run(written, check=True, capture_output=True, timeout=60)
        return cert, key

    plain, other = make("plain", "-nodes"), make("other", "-nodes")
    locked = make("locked", "-passout", "pass:hidden")
    assert certificate_flaw(*plain) == ""
    assert certificate_flaw(plain[0], other[1]) == "key is not the one of the certificate in cert"
    for wrong in (locked, (plain[1], plain[1]), (plain[0], "/dev/null")):
        assert "in PEM without a password" in certificate_flaw(*wrong)
    assert certificate_flaw(plain[0], str(tmp_path / "absent")) == "No such file or directory"
