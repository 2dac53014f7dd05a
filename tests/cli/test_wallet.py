"""`infernet-edge wallet`: keys from files, stdin and terminals; a real chain for the rest."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from infernet_edge.chain.wallet.keystore import load_account, read_keystore
from infernet_edge.cli.main import main
from infernet_edge.config import load
from infernet_edge.config.secret_files import Secret
from tests.support.evm import ETHER, NODE, V0, V1, Anvil
from tests.support.ports import free_port
from tests.support.process import ROOT
from tests.support.terminal import on_a_terminal

KEY = NODE.key.hex()
PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, a configuration in it, and a process that may dump its core."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INFERNET_CONFIG_PATH", raising=False)
    for module in ("infernet_edge.chain.wallet.keystore", "infernet_edge.cli.wallet.keys"):
        monkeypatch.setattr(f"{module}.forbid_core_dumps", lambda: None)
    configure({})
    Path("password").write_text(PASSWORD + "\n")
    Path("password").chmod(0o600)
    return tmp_path


def configure(chain: dict[str, Any], file: str = "config.json") -> None:
    Path(file).write_text(json.dumps({"storage": {"path": "data"}, "chain": chain}))
    Path(file).chmod(0o600)


def for_the_chain(anvil: Anvil, coordinator: str = "", **settings: Any) -> None:
    """Configure a node with the key of NODE."""
    wallet = {"private_key": KEY} | settings.pop("wallet", {})
    chain: dict[str, Any] = {"enabled": True, "rpc_url": anvil.url, "wallet": wallet}
    contracts = {"coordinator_address": coordinator, "registry_address": "0x" + 40 * "1"}
    configure(chain | contracts | settings)


def from_stdin(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def alone(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run as a process without any terminal."""
    return subprocess.run(
        [sys.executable, "-m", "infernet_edge", "wallet", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
    )


def wallet(*arguments: str) -> int:
    return main(["wallet", *arguments])


# Keys


def test_new_in_a_keystore(capsys: pytest.CaptureFixture[str]) -> None:
    assert wallet("new", "--password-file", "password") == 0
    path = Path("data/keystore.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    account = read_keystore(path, Secret(PASSWORD))
    printed = capsys.readouterr().out
    assert account.address in printed
    assert account.key.hex() not in printed + path.read_text()
    assert PASSWORD not in printed


@pytest.mark.parametrize("options", [["--plain"], ["--password-file", "password"]])
def test_new_as_json(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert wallet("new", "--json", *options) == 0
    printed = capsys.readouterr()
    made = json.loads(printed.out)
    assert made["encrypted"] == ("--plain" not in options)
    Path("made.json").write_text(json.dumps(made["configuration"]))
    Path("made.json").chmod(0o600)
    account = load_account(load(Path("made.json"), {}).config.chain.wallet)
    assert made["address"] == account.address
    assert Path(made["file"]).is_file()
    assert printed.err == ""
    assert account.key.hex() not in printed.out
    assert PASSWORD not in printed.out
    assert wallet("new", "--json", *options) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "exists" in printed.err


def test_import_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from_stdin(KEY, monkeypatch)
    assert wallet("import", "--plain", "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["address"] == NODE.address
    assert KEY.removeprefix("0x") not in printed.out + printed.err


@pytest.mark.parametrize("options", [["--plain"], ["--password-file", "password"]])
@pytest.mark.parametrize("file", ["config.json", "config.toml"])
def test_what_new_says_to_configure_works(
    options: list[str], file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("config.toml").write_text('[storage]\npath = "data"\n')
    assert wallet("new", "--config", file, *options) == 0
    shown = capsys.readouterr().out
    snippet = shown.partition("configuration:\n\n")[2]
    Path(f"new-{file}").write_text(snippet)
    Path(f"new-{file}").chmod(0o600)
    config, warnings, _ = load(Path(f"new-{file}"), {})
    assert not warnings
    assert load_account(config.chain.wallet).address in shown


def test_every_key_is_another() -> None:
    assert wallet("new", "--plain", "--output", "one") == 0
    assert wallet("new", "--plain", "--output", "two") == 0
    assert Path("one").read_text() != Path("two").read_text()


def test_a_key_is_never_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    Path("key").write_text("precious")
    assert wallet("new", "--plain", "--output", "key") == 1
    assert "--output" in capsys.readouterr().err
    assert Path("key").read_text() == "precious"


def test_new_before_the_configuration_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    """A chain that is on wants a key, and this is how to get one."""
    configure(
        {"enabled": True, "rpc_url": "http://127.0.0.1:1", "registry_address": "0x" + 40 * "1"}
    )
    assert main(["check"]) == 78
    assert "infernet-edge wallet new" in capsys.readouterr().err
    assert wallet("new", "--plain") == 0


def test_mistakes_in_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.json").write_text("{")
    assert wallet("new", "--plain") == 78
    assert wallet("show") == 78
    assert "JSON" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["new", "--password-file", "none"], "No such file"),
        (["new", "--password-file", "short"], "shorter than 8"),
        (["new", "--plain", "--output", "password/key"], "Not a directory"),
        (["import", "--plain", "--file", "none"], "No such file"),
        (["import", "--plain", "--file", "short"], "64 hexadecimal digits"),
        (["import", "--plain", "--file", "binary"], "not text"),
    ],
)
def test_what_cannot_be_done(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("short").write_text("abc1234")
    Path("binary").write_bytes(b"\xff\xfe")
    assert wallet(*arguments) == 1
    printed = capsys.readouterr().err
    assert words in printed
    assert "abc1234" not in printed
    assert not Path("data").exists()


def test_plain_and_a_password_exclude_each_other() -> None:
    with pytest.raises(SystemExit) as ended:
        wallet("new", "--plain", "--password-file", "password")
    assert ended.value.code == 2


@pytest.mark.parametrize("text", [KEY, f"0x{KEY}\n"])
def test_import_from_stdin(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from_stdin(text, monkeypatch)
    assert wallet("import", "--password-file", "password") == 0
    assert read_keystore(Path("data/keystore.json"), Secret(PASSWORD)).address == NODE.address
    printed = capsys.readouterr()
    assert NODE.address in printed.out
    assert KEY not in printed.out + printed.err


def test_import_from_a_file() -> None:
    Path("old").write_text(KEY)
    assert wallet("import", "--plain", "--file", "old") == 0
    assert Path("data/private-key").read_text() == f"0x{KEY}\n"


def test_import_of_a_keystore_writes_one_that_takes_less_memory() -> None:
    old = Account.encrypt(NODE.key, "old password", kdf="scrypt", iterations=2**14)
    Path("old.json").write_text(json.dumps(old))
    Path("old-password").write_text("old password")
    files = ["--file", "old.json", "--old-password-file", "old-password"]
    assert wallet("import", *files, "--password-file", "password") == 0
    new = json.loads(Path("data/keystore.json").read_text())
    assert new["crypto"]["kdfparams"]["n"] == 2**12
    assert read_keystore(Path("data/keystore.json"), Secret(PASSWORD)).key == NODE.key


def test_import_of_something_else_does_not_show_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from_stdin(KEY[:-1], monkeypatch)
    assert wallet("import", "--plain") == 1
    printed = capsys.readouterr()
    assert "64 hexadecimal digits" in printed.err
    assert KEY[:20] not in printed.out + printed.err


def test_without_a_terminal_nothing_is_asked() -> None:
    ended = alone("new")
    assert ended.returncode == 1
    assert "--password-file" in ended.stderr
    assert "--plain" in ended.stderr
    assert not Path("data").exists()


def test_a_process_of_its_own_with_a_pipe() -> None:
    ended = alone("import", "--plain", "--output", "key", stdin=KEY)
    assert ended.returncode == 0, ended.stderr
    assert Path("key").read_text() == f"0x{KEY}\n"


def test_a_password_from_a_terminal() -> None:
    answers = ["short\n", "long enough\n", "not the same\n", "long enough\n", "long enough\n"]
    code, screen = on_a_terminal(answers, "wallet", "new")
    assert code == 0, screen
    assert "at least 8 characters" in screen
    assert "The passwords differ" in screen
    assert "long enough" not in screen
    read_keystore(Path("data/keystore.json"), Secret("long enough"))


def test_a_key_from_a_terminal() -> None:
    code, screen = on_a_terminal([f"{KEY}\n"], "wallet", "import", "--plain")
    assert code == 0, screen
    assert KEY not in screen
    assert NODE.address in screen


def test_leaving_in_the_middle_writes_nothing() -> None:
    code, screen = on_a_terminal(["\x04"], "wallet", "new")
    assert code == 1, screen
    assert "Nothing was done" in screen
    assert not Path("data").exists()


# The chain


def test_show(anvil: Anvil, capsys: pytest.CaptureFixture[str]) -> None:
    anvil.set_balance(NODE.address, ETHER * 5 // 2)
    payment = "0x" + 40 * "2"
    for_the_chain(anvil, wallet={"payment_address": payment})
    assert wallet("show") == 0
    printed = capsys.readouterr()
    lines = dict(line.split(maxsplit=1) for line in printed.out.splitlines())
    assert lines["Address"] == NODE.address
    assert lines["Chain"].startswith("31337")
    assert lines["Balance"] == f"2.5 ({ETHER * 5 // 2} wei)"
    assert lines["Transactions"] == "0 mined, 0 pending"
    assert payment in printed.out
    assert "SDK 0.1" not in printed.out
    assert not printed.err
    assert KEY not in printed.out
    assert wallet("show", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["address"], shown["chain_id"]) == (NODE.address, 31337)
    assert (shown["balance"], shown["pending"]) == (str(ETHER * 5 // 2), 0)
    assert (shown["payment_address"], shown["registration"]) == (payment, None)


def test_show_of_a_keystore(anvil: Anvil, capsys: pytest.CaptureFixture[str]) -> None:
    Path("key").write_text(KEY)
    assert wallet("import", "--file", "key", "--password-file", "password") == 0
    keystore = {"keystore": "data/keystore.json", "keystore_password": {"file": "password"}}
    for_the_chain(anvil, wallet=keystore | {"private_key": None})
    capsys.readouterr()
    assert wallet("show") == 0
    assert f"Address      {NODE.address}" in capsys.readouterr().out


def test_show_of_a_poor_account(anvil: Anvil, capsys: pytest.CaptureFixture[str]) -> None:
    anvil.set_balance(NODE.address, 0)
    for_the_chain(anvil)
    assert wallet("show") == 0
    assert "no coins" in capsys.readouterr().err


def test_show_without_the_chain(capsys: pytest.CaptureFixture[str]) -> None:
    anvil = Anvil()  # which does not run
    for_the_chain(anvil, rpc_url=f"http://127.0.0.1:{free_port()}/secret-path")
    assert wallet("show") == 1
    printed = capsys.readouterr()
    assert NODE.address in printed.out
    assert "No JSON-RPC server of chain.rpc_url answers" in printed.err
    assert "secret-path" not in printed.out + printed.err


def test_show_without_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert wallet("show") == 1
    assert "infernet-edge wallet new" in capsys.readouterr().err


def test_show_without_a_url(capsys: pytest.CaptureFixture[str]) -> None:
    configure({"wallet": {"private_key": KEY}})
    assert wallet("show") == 1
    printed = capsys.readouterr()
    assert NODE.address in printed.out
    assert "chain.rpc_url is not set" in printed.err


def test_register_wait_activate(v0: V0, capsys: pytest.CaptureFixture[str]) -> None:
    for_the_chain(v0.anvil, v0.coordinator.address.removeprefix("0x"))

    def output_of(*arguments: str, code: int = 0) -> str:
        assert wallet(*arguments) == code
        return "".join(capsys.readouterr())

    assert "not registered: infernet-edge wallet register" in output_of("show")
    assert "not registered" in output_of("activate", code=1)
    registered = output_of("register")
    assert f"{NODE.address} is registered" in registered
    assert "an hour from now" in registered
    assert "can be activated in 60 minutes" in output_of("show")
    assert "is registered, can be activated in" in output_of("register")
    v0.anvil.increase_time(3580)
    assert "seconds" in output_of("activate", code=1)
    v0.anvil.increase_time(20)
    assert "can be activated now: infernet-edge wallet activate" in output_of("show")
    assert f"{NODE.address} is active: it may deliver" in output_of("activate")
    assert "SDK 0.1      active" in output_of("show")
    assert "is already active" in output_of("activate")
    assert "is active" in output_of("register")
    assert v0.anvil.nonce(NODE.address) == 2


def test_registration_as_json(v0: V0, capsys: pytest.CaptureFixture[str]) -> None:
    for_the_chain(v0.anvil, v0.coordinator.address.removeprefix("0x"))

    def answer(action: str) -> dict[str, Any]:
        assert wallet(action, "--json") == 0
        return dict(json.loads(capsys.readouterr().out))

    registered = answer("register")
    assert registered["address"] == NODE.address
    assert registered["transaction"]["hash"].startswith("0x")
    assert answer("register")["transaction"] is None
    assert wallet("activate", "--json") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "can be activated in" in printed.err
    v0.anvil.increase_time(3600)
    active = answer("activate")
    assert active["registration"] == "active"
    assert active["transaction"]["gas_used"] > 0
    assert answer("activate")["transaction"] is None


def test_registration_is_only_for_the_old_coordinators(
    anvil: Anvil, capsys: pytest.CaptureFixture[str]
) -> None:
    for_the_chain(anvil)
    assert wallet("register") == 1
    assert "chain.coordinator_address is not set" in capsys.readouterr().err


def test_an_address_without_a_coordinator(anvil: Anvil, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = "0x" + 40 * "3"
    for_the_chain(anvil, nowhere)
    assert wallet("register") == 1
    problem = f"No contract is at chain.coordinator_address {nowhere} on chain 31337"
    assert problem in capsys.readouterr().err


def test_an_address_of_another_contract(v1: V1, capsys: pytest.CaptureFixture[str]) -> None:
    for_the_chain(v1.anvil, v1.registry.address)
    assert wallet("register") == 1
    problem = f"{v1.registry.address} on chain 31337 is not a coordinator of SDK 0.1"
    assert problem in capsys.readouterr().err


def test_registration_without_coins(v0: V0, capsys: pytest.CaptureFixture[str]) -> None:
    for_the_chain(v0.anvil, v0.coordinator.address)
    v0.anvil.set_balance(NODE.address, 5)
    assert wallet("register") == 1
    assert f"{NODE.address} has 5 wei" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["a" * 300, "password/x", "link/x"])
def test_a_place_where_no_key_can_be(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("link").symlink_to("link")
    assert main(["wallet", "new", "--plain", "--output", output]) == 1
    printed = capsys.readouterr().err
    assert "cannot be written" in printed
    assert "Use --output" in printed


def test_a_link_to_nothing_is_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    Path("link").symlink_to("elsewhere")
    assert main(["wallet", "new", "--plain", "--output", "link"]) == 1
    assert "link exists" in capsys.readouterr().err
    assert not Path("elsewhere").exists()
