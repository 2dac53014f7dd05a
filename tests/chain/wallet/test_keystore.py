from __future__ import annotations

import json
import stat
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from eth_account import Account

from infernet_edge.chain.wallet import keystore as keys
from infernet_edge.chain.wallet.keystore import (
    KeyProblem,
    keystore_text,
    load_account,
    new_account,
    parse_key,
    read_keystore,
    write_secret,
)
from infernet_edge.config.secret_files import Secret
from infernet_edge.config.sections.chain import Wallet
from tests.support.process import ROOT

KEY = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
ADDRESS = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
PASSWORD = Secret("a long password")


@pytest.fixture(autouse=True)
def dumpable(monkeypatch: pytest.MonkeyPatch) -> None:
    """What forbids core dumps would do so for all other tests too."""
    monkeypatch.setattr(keys, "forbid_core_dumps", lambda: None)


@pytest.mark.parametrize("text", [KEY, f"0x{KEY}", KEY.upper(), f" 0x{KEY}\n"])
def test_a_key_as_text(text: str) -> None:
    assert load_account(Wallet(private_key=Secret(text))).address == ADDRESS


@pytest.mark.parametrize(
    "text", ["", KEY[1:], f"{KEY}00", f"0X{KEY}", f"{KEY[:-1]}g", "word " * 12, 64 * "0", 64 * "f"]
)
def test_a_key_that_is_none_is_not_shown(text: str) -> None:
    with pytest.raises(KeyProblem) as raised:
        parse_key(Secret(text))
    shown = "".join(traceback.format_exception(raised.value))
    assert not text or text[:16] not in shown.partition("KeyProblem")[2]
    assert not text or text[:16] not in repr(raised.value)


def test_no_key_at_all() -> None:
    with pytest.raises(KeyProblem, match="infernet-edge wallet new"):
        load_account(Wallet())


def test_an_account_does_not_show_its_key() -> None:
    account = parse_key(Secret(KEY))
    assert KEY not in f"{account!r} {account} {Wallet(private_key=Secret(KEY))!r}"


def test_a_keystore_is_read_back(tmp_path: Path) -> None:
    account = new_account()
    path = tmp_path / "keystore.json"
    text = keystore_text(account, PASSWORD)
    write_secret(path, text)
    assert account.key.hex() not in text
    assert read_keystore(path, PASSWORD).address == account.address
    wallet = Wallet(keystore=str(path), keystore_password=PASSWORD)
    assert load_account(wallet).key == account.key


def test_a_keystore_takes_little_memory_to_open() -> None:
    parameters = json.loads(keystore_text(new_account(), PASSWORD))["crypto"]["kdfparams"]
    assert 128 * parameters["n"] * parameters["r"] <= 4 * 2**20


def test_keystores_of_others(tmp_path: Path) -> None:
    path = tmp_path / "keystore.json"
    path.write_text(
        json.dumps(Account.encrypt(bytes.fromhex(KEY), "pw", kdf="pbkdf2", iterations=1000))
    )
    assert read_keystore(path, Secret("pw")).address == ADDRESS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"version": 1}',
        '{"version": 3}',
        '{"version": 3, "crypto": 5}',
        '{"version": 3, "crypto": {"kdf": "rot13"}}',
        50_000 * "[",
    ],
)
def test_a_file_that_is_no_keystore(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keystore.json"
    path.write_text(text)
    with pytest.raises(KeyProblem, match=r"keystore\.json"):
        read_keystore(path, PASSWORD)


def test_a_wrong_password(tmp_path: Path) -> None:
    path = tmp_path / "keystore.json"
    path.write_text(keystore_text(parse_key(Secret(KEY)), PASSWORD))
    with pytest.raises(KeyProblem, match="does not open") as raised:
        read_keystore(path, Secret("open " + "sesame"))
    assert "open sesame" not in "".join(traceback.format_exception(raised.value))


def test_a_keystore_that_wants_all_memory(tmp_path: Path) -> None:
    keystore = json.loads(keystore_text(new_account(), PASSWORD))
    keystore["crypto"]["kdfparams"]["n"] = 2**40
    path = tmp_path / "keystore.json"
    path.write_text(json.dumps(keystore))
    with pytest.raises(KeyProblem, match="more memory"):
        read_keystore(path, PASSWORD)


def test_more_memory_than_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*arguments: object) -> bytes:
        raise MemoryError

    path = tmp_path / "keystore.json"
    path.write_text(keystore_text(new_account(), PASSWORD))
    monkeypatch.setattr(Account, "decrypt", exhausted)
    with pytest.raises(KeyProblem, match="takes 4 MiB of memory"):
        read_keystore(path, PASSWORD)


def test_a_keystore_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match="No such file"):
        read_keystore(tmp_path / "none", PASSWORD)


def test_a_secret_is_written_for_its_owner_and_never_over_another(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key"
    write_secret(path, "one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with pytest.raises(FileExistsError):
        write_secret(path, "two")
    assert path.read_text() == "one"


DRIVER = """
import ctypes, resource, sys
from infernet_edge.chain.wallet.keystore import load_account
from infernet_edge.config.sections.chain import Wallet
from infernet_edge.config.secret_files import Secret
load_account(Wallet(private_key=Secret(sys.stdin.read())))
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)[0])
"""


def test_a_process_with_a_key_writes_no_core_dump() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", DRIVER],
        cwd=ROOT,
        input=KEY,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert shown.stdout.split() == ["0", "0"]
    assert not shown.stderr
