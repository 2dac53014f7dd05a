"""`infernet-edge wallet pay` on a real EVM, with the contracts of SDK 1.x."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount

from infernet_edge.chain.txm import one_off as oneoff
from infernet_edge.cli.main import main
from infernet_edge.cli.wallet import chain as wallet_chain
from infernet_edge.cli.wallet import pay as wallet_pay
from infernet_edge.config import load
from tests.support.evm import ALICE, COIN, ETHER, NODE, OTHER_NODE, V1, Contract, deploy
from tests.support.ports import free_port
from tests.support.terminal import on_a_terminal

KEY = NODE.key.hex()
NOWHERE = "0x" + 40 * "1"

Pay = Callable[..., str]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own, a process that may dump its core, and no long pauses."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INFERNET_CONFIG_PATH", raising=False)
    monkeypatch.setattr("infernet_edge.chain.wallet.keystore.forbid_core_dumps", lambda: None)
    monkeypatch.setattr(oneoff, "_POLL_PERIOD", 0.02)
    return tmp_path


@pytest.fixture
def pay(capsys: pytest.CaptureFixture[str]) -> Pay:
    """Run the command; returns what it printed, errors behind the rest."""

    def pay(*arguments: str, code: int = 0) -> str:
        assert main(["wallet", "pay", *arguments]) == code
        output = capsys.readouterr()
        assert KEY not in output.out + output.err
        assert bool(output.err) or code == 0
        return output.out + output.err

    return pay


@pytest.fixture
def token(v1: V1) -> Contract:
    return deploy(v1.anvil, "Token")


def configure(
    v1: V1,
    payment: Contract | str | None = None,
    *,
    accepted: dict[str, int] | None = None,
    **changed: Any,
) -> None:
    """Write the configuration of a node with the key of NODE."""
    address = payment.address if isinstance(payment, Contract) else payment
    chain: dict[str, Any] = {"rpc_url": v1.anvil.url, "registry_address": v1.registry.address}
    chain["wallet"] = {"private_key": KEY} | ({"payment_address": address} if address else {})
    container = {"id": "echo", "url": "http://127.0.0.1:1", "accepted_payments": accepted or {}}
    document = {"storage": {"path": "data"}, "containers": [container], "chain": chain | changed}
    Path("config.json").write_text(json.dumps(document))
    Path("config.json").chmod(0o600)


def wallets(v1: V1) -> list[dict[str, Any]]:
    """All that the factory made."""
    return v1.wallet_factory.events("WalletCreated")


# create


def test_create(v1: V1, pay: Pay) -> None:
    configure(v1)
    output = pay("create")
    [made] = wallets(v1)
    assert made["owner"] == NODE.address
    assert f"Wallet       {made['wallet']}" in output
    toml, _, text = output.partition("and restart the node:\n\n")[2].partition(
        "\nor, when the configuration is JSON:\n\n"
    )
    for name, snippet in (("config.toml", toml), ("other.json", text)):
        Path(name).write_text(snippet)
        assert load(Path(name), {}).config.chain.wallet.payment_address == made["wallet"]


def test_the_answers_as_json(v1: V1, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(*arguments: str) -> dict[str, Any]:
        assert main(["wallet", "pay", *arguments, "--json"]) == 0
        printed = capsys.readouterr()
        assert KEY not in printed.out + printed.err
        return dict(json.loads(printed.out))

    configure(v1)
    made = answer("create")
    assert made["wallet"] == wallets(v1)[0]["wallet"]
    assert (made["owner"], made["previous"]) == (NODE.address, None)
    assert made["transaction"]["hash"].startswith("0x")
    configure(v1, made["wallet"])
    wallet = Contract(v1.anvil, "Wallet", made["wallet"])
    v1.anvil.set_balance(wallet.address, 2**60)
    approved = answer("approve", str(2**59))
    assert (approved["allowance"], approved["previous"]) == (str(2**59), "0")
    assert wallet.call("allowance", NODE.address, COIN) == 2**59
    assert answer("approve", str(2**59))["transaction"] is None
    taken = answer("withdraw", "all")
    assert (taken["amount"], taken["to"]) == (str(2**60), NODE.address)
    assert taken["transaction"] is not None
    assert answer("withdraw", "all")["transaction"] is None


def test_what_create_made_can_be_used(v1: V1, pay: Pay) -> None:
    configure(v1)
    pay("create")
    wallet = Contract(v1.anvil, "Wallet", wallets(v1)[0]["wallet"])
    configure(v1, wallet)
    v1.anvil.set_balance(wallet.address, 7)
    pay("approve", "5")
    pay("withdraw", "3", "--yes")
    assert wallet.call("allowance", NODE.address, COIN) == 5
    assert v1.anvil.balance(wallet.address) == 4


def test_one_wallet_is_enough(v1: V1, pay: Pay) -> None:
    old = v1.wallet(NODE)
    configure(v1, old)
    output = pay("create", code=1)
    assert f"already names a wallet, {old.address}" in output
    assert "infernet-edge wallet pay create --another" in output
    assert len(wallets(v1)) == 1
    output = pay("create", "--another")
    assert wallets(v1)[1]["wallet"] in output
    assert f"INFERNET_EDGE_CHAIN__WALLET__PAYMENT_ADDRESS={old.address}" in output


def test_what_stays_in_the_old_wallet_can_be_withdrawn(
    v1: V1, pay: Pay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the way that `create --another` tells of."""
    old = v1.wallet(NODE, coins=9)
    configure(v1, v1.wallet(NODE))
    monkeypatch.setenv("INFERNET_EDGE_CHAIN__WALLET__PAYMENT_ADDRESS", old.address)
    assert f"Withdrew 0.000000000000000009 (9 wei) from {old.address}" in pay("withdraw", "all")


def test_create_that_is_not_mined_in_time(
    v1: V1, pay: Pay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wallet_chain, "_MAX_WAIT", 0.1)
    v1.anvil.set_automine(False)
    configure(v1)
    output = pay("create", code=1)
    [sent] = v1.anvil.mempool()
    assert output.count(sent) == 2
    assert "Do not make another one" in output


def test_create_with_a_server_that_is_behind(
    v1: V1, pay: Pay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that has the receipt and the one that is asked then may be two."""
    answers = [False, False, False, True]

    async def behind(*arguments: Any) -> bool:
        return answers.pop(0)

    monkeypatch.setattr(wallet_pay, "is_valid_wallet", behind)
    monkeypatch.setattr(wallet_pay, "_CHECK_PERIOD", 0.01)
    configure(v1)
    output = pay("create")
    assert output.count(wallets(v1)[0]["wallet"]) == 3
    monkeypatch.setattr(wallet_pay, "_CHECKS", 2)
    answers += [False, False, False]
    output = pay("create", code=1)
    assert output.count(wallets(v1)[1]["wallet"]) == 2
    assert "does not list the wallet" in output


def test_create_without_gas_money(v1: V1, pay: Pay) -> None:
    configure(v1)
    v1.anvil.set_balance(NODE.address, 5)
    output = pay("create", code=1)
    assert f"{NODE.address} has 5 wei" in output
    assert not wallets(v1)


# show


def test_show(v1: V1, token: Contract, pay: Pay) -> None:
    wallet = v1.wallet(NODE, coins=5 * ETHER // 2, token=token, tokens=25)
    wallet.send("approve", NODE.address, COIN, ETHER, sender=NODE)
    wallet.send("approve", NODE.address, token.address, 8, sender=NODE)
    v1.lock(wallet, NODE, token.address, 5)
    configure(v1, wallet, accepted={COIN: 1, token.address[2:].lower(): 1})
    assert pay("show").splitlines() == [
        f"Wallet       {wallet.address}",
        "Chain        31337",
        f"Factory      {v1.wallet_factory.address} made it",
        f"Owner        {NODE.address} (this node's account)",
        "Coin",
        "  balance    2.5 (2500000000000000000 wei)",
        "  locked     0 (0 wei), for proofs",
        "  allowance  1 (1000000000000000000 wei), for this node's proofs",
        f"Token        {token.address}",
        "  balance    25",
        "  locked     5, for proofs",
        "  allowance  3, for this node's proofs",
    ]
    assert v1.anvil.nonce(NODE.address) == 2  # those two approvals


def test_show_as_json(v1: V1, token: Contract, pay: Pay) -> None:
    wallet = v1.wallet(NODE, coins=7)
    configure(v1, wallet)
    found = json.loads(pay("show", "--json", "--token", token.address, "--token", NOWHERE))
    assert found["tokens"] == [
        {"token": COIN, "balance": "7", "locked": "0", "allowance": "0"},
        {"token": token.address, "balance": "0", "locked": "0", "allowance": "0"},
        {"token": NOWHERE, "balance": None, "locked": None, "allowance": "0"},
    ]
    assert found["warnings"] == [f"{NOWHERE} is not an ERC-20 token on chain 31337."]
    del found["tokens"], found["warnings"]
    assert found == {
        "wallet": wallet.address,
        "node": NODE.address,
        "chain_id": 31337,
        "factory": v1.wallet_factory.address,
        "valid": True,
        "owner": NODE.address,
        "own": True,
    }


def test_show_without_a_wallet(v1: V1, pay: Pay) -> None:
    configure(v1)
    output = pay("show")
    assert NODE.address in output
    assert "infernet-edge wallet pay create" in output
    found = json.loads(pay("show", "--json"))
    assert (found["wallet"], found["node"]) == (None, NODE.address)
    assert "infernet-edge wallet pay create" in found["warnings"][0]


def test_show_of_the_wallet_of_another_account(v1: V1, pay: Pay) -> None:
    configure(v1, v1.wallet(ALICE, coins=7))
    output = pay("show")
    assert f"Owner        {ALICE.address} (not this node's account {NODE.address})" in output
    assert "  balance    0.000000000000000007 (7 wei)" in output
    assert f"it has to approve {NODE.address}" in output


def test_show_of_a_wallet_of_another_factory(v1: V1, pay: Pay) -> None:
    wallet = deploy(v1.anvil, "Wallet", v1.registry.address, NODE.address)
    configure(v1, wallet)
    output = pay("show")
    assert f"Factory      {v1.wallet_factory.address} did not make it" in output
    assert "InvalidWallet" in output
    assert "infernet-edge wallet pay create --another" in output


@pytest.mark.parametrize("action", ["show", "approve", "withdraw"])
def test_an_address_without_a_wallet(v1: V1, pay: Pay, action: str) -> None:
    configure(v1, NOWHERE)
    output = pay(action) if action == "show" else pay(action, "5", code=1)
    assert f"There is no wallet at {NOWHERE} on chain 31337" in output


# approve


def test_approve(v1: V1, pay: Pay) -> None:
    wallet = v1.wallet(NODE)
    configure(v1, wallet)
    output = pay("approve", "0.5eth")
    assert wallet.call("allowance", NODE.address, COIN) == ETHER // 2
    assert "Allowance    0 (0 wei) until now" in output
    assert f"{NODE.address} may spend 0.5 (500000000000000000 wei)" in output
    assert "already" in pay("approve", "500000000000000000")
    assert v1.anvil.nonce(NODE.address) == 1
    assert "Allowance    0.5 (500000000000000000 wei) until now" in pay("approve", "0")
    assert wallet.call("allowance", NODE.address, COIN) == 0


def test_approve_tokens_for_another_spender(v1: V1, token: Contract, pay: Pay) -> None:
    wallet = v1.wallet(NODE)
    configure(v1, wallet)
    options = ["--token", token.address.lower(), "--spender", ALICE.address]
    output = pay("approve", str(2**256 - 1), *options)
    assert wallet.call("allowance", ALICE.address, token.address) == 2**256 - 1
    assert wallet.call("allowance", NODE.address, token.address) == 0
    assert f"{ALICE.address} may spend {2**256 - 1} of token {token.address}" in output


def test_approve_of_a_wallet_of_another_factory(v1: V1, pay: Pay) -> None:
    wallet = deploy(v1.anvil, "Wallet", v1.registry.address, NODE.address)
    configure(v1, wallet)
    assert "InvalidWallet" in pay("approve", "5", code=1)
    assert wallet.call("allowance", NODE.address, COIN) == 0


# withdraw


def test_withdraw(v1: V1, pay: Pay) -> None:
    wallet = v1.wallet(NODE, coins=3 * ETHER)
    configure(v1, wallet)
    before = v1.anvil.balance(NODE.address)
    output = pay("withdraw", "1.25eth")
    assert f"Withdrew 1.25 (1250000000000000000 wei) from {wallet.address}" in output
    assert v1.anvil.balance(wallet.address) == ETHER * 7 // 4
    assert ETHER < v1.anvil.balance(NODE.address) - before < ETHER * 5 // 4
    pay("withdraw", "all")
    assert v1.anvil.balance(wallet.address) == 0
    assert "Nothing can be withdrawn" in pay("withdraw", "all")
    assert v1.anvil.nonce(NODE.address) == 2


def test_withdraw_tokens(v1: V1, token: Contract, pay: Pay) -> None:
    wallet = v1.wallet(NODE, token=token, tokens=25)
    configure(v1, wallet)
    output = pay("withdraw", "5", "--token", token.address)
    assert f"Withdrew 5 of token {token.address}" in output
    pay("withdraw", "all", "--token", token.address)
    assert token.call("balanceOf", NODE.address) == 25


def test_what_is_locked_stays(v1: V1, token: Contract, pay: Pay) -> None:
    wallet = v1.wallet(NODE, token=token, tokens=25)
    wallet.send("approve", NODE.address, token.address, 25, sender=NODE)
    v1.lock(wallet, NODE, token.address, 10)
    configure(v1, wallet)
    options = ["--token", token.address]
    output = pay("withdraw", "16", *options, code=1)
    assert "InsufficientFunds" in output
    assert f"holds 25 of token {token.address}, 10 of it locked" in output
    assert "15 can be withdrawn, not 16" in output
    pay("withdraw", "all", *options)
    assert token.call("balanceOf", NODE.address) == 15
    output = pay("withdraw", "all", *options)
    assert "Nothing can be withdrawn" in output
    assert "10 of it locked for proofs" in output


def test_more_than_there_is(v1: V1, pay: Pay) -> None:
    configure(v1, v1.wallet(NODE, coins=7))
    output = pay("withdraw", "8wei", code=1)
    assert "0.000000000000000007 (7 wei) can be withdrawn" in output
    assert "not 0.000000000000000008 (8 wei)" in output
    assert v1.anvil.nonce(NODE.address) == 0


@pytest.mark.parametrize(("answer", "code"), [("yes\n", 0), ("\n", 1), ("\x04", 1)])
def test_a_terminal_is_asked(v1: V1, answer: str, code: int) -> None:
    wallet = v1.wallet(NODE, coins=7)
    configure(v1, wallet)
    ended, screen = on_a_terminal([answer], "wallet", "pay", "withdraw", "all")
    assert ended == code, screen
    asked = f"Withdraw 0.000000000000000007 (7 wei) from {wallet.address} to {NODE.address}?"
    assert asked in screen
    assert ("Withdrew" in screen) == (code == 0)
    assert ("Nothing was done" in screen) == (code == 1)
    assert v1.anvil.balance(wallet.address) == (0 if code == 0 else 7)


def test_a_terminal_is_not_asked_with_yes(v1: V1) -> None:
    wallet = v1.wallet(NODE, coins=7)
    configure(v1, wallet)
    ended, screen = on_a_terminal([], "wallet", "pay", "withdraw", "all", "--yes")
    assert ended == 0, screen
    assert v1.anvil.balance(wallet.address) == 0


def test_ctrl_c_while_it_is_mined(v1: V1) -> None:
    """A sent transaction cannot be cancelled; the message does not say that nothing was done."""
    wallet = v1.wallet(NODE, coins=7)
    configure(v1, wallet)
    v1.anvil.set_automine(False)
    arguments = ["wallet", "pay", "withdraw", "all"]
    ended, screen = on_a_terminal(["yes\n", "\x03"], *arguments, also=b"is mined ...\r\n")
    assert ended == 1, screen
    assert v1.anvil.mempool()[0] in screen
    assert "may still be mined" in screen
    assert "Nothing was done" not in screen


# What all refuse


@pytest.mark.parametrize("action", ["approve", "withdraw"])
class TestNeither:
    def test_with_the_wallet_of_another_account(self, v1: V1, pay: Pay, action: str) -> None:
        wallet = v1.wallet(ALICE, coins=7)
        configure(v1, wallet)
        output = pay(action, "5", code=1)
        assert f"Unauthorized: the wallet {wallet.address} belongs to {ALICE.address}" in output
        assert f"this node's account is {NODE.address}" in output
        assert v1.anvil.nonce(NODE.address) == 0

    def test_with_something_that_is_no_token(self, v1: V1, pay: Pay, action: str) -> None:
        configure(v1, v1.wallet(NODE))
        output = pay(action, "5", "--token", NOWHERE, code=1)
        assert f"{NOWHERE} is not an ERC-20 token on chain 31337" in output
        assert v1.anvil.nonce(NODE.address) == 0

    def test_without_a_wallet(self, v1: V1, pay: Pay, action: str) -> None:
        configure(v1)
        assert "infernet-edge wallet pay create" in pay(action, "5", code=1)

    def test_without_gas_money(self, v1: V1, pay: Pay, action: str) -> None:
        wallet = v1.wallet(NODE, coins=7)
        configure(v1, wallet)
        v1.anvil.set_balance(NODE.address, 5)
        assert f"{NODE.address} has 5 wei" in pay(action, "5", code=1)
        assert v1.anvil.balance(wallet.address) == 7

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["0.5"], "0.5eth"),
            (["-5"], '"-5": it is not an amount'),
            (["1eth", "--token", NOWHERE], "smallest unit"),
            (["5", "--token", NOWHERE[:-1]], "40 hex digits"),
            ([], "AMOUNT"),
        ],
    )
    def test_with_wrong_usage(
        self,
        action: str,
        arguments: list[str],
        words: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        with pytest.raises(SystemExit) as ended:
            main(["wallet", "pay", action, *arguments])
        assert ended.value.code == 2
        assert words in capsys.readouterr().err


def test_nothing_is_not_withdrawn(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["wallet", "pay", "withdraw", "0eth"])
    assert ended.value.code == 2
    assert "0 cannot be withdrawn" in capsys.readouterr().err


def test_the_contracts_own_words(
    v1: V1, pay: Pay, monkeypatch: pytest.MonkeyPatch, token: Contract
) -> None:
    """What is refused although all that can be known before was well."""
    wallet = v1.wallet(NODE, token=token, tokens=25)
    configure(v1, wallet)
    send = wallet_chain.send

    async def given_away(rpc: Any, account: LocalAccount, to: str, data: bytes) -> Any:
        wallet.send("transferOwnership", OTHER_NODE.address, sender=NODE)
        return await send(rpc, account, to, data)

    monkeypatch.setattr(wallet_pay, "send", given_away)
    output = pay("withdraw", "5", "--token", token.address, code=1)
    assert f"{wallet.address} would refuse it: Unauthorized: only the contract's owner" in output


@pytest.mark.parametrize("arguments", [["create"], ["show"], ["approve", "5"], ["withdraw", "5"]])
class TestNone:
    def test_with_a_wrong_registry(self, v1: V1, pay: Pay, arguments: list[str]) -> None:
        payment = None if arguments == ["create"] else NOWHERE
        configure(v1, payment, registry_address=NOWHERE)
        assert f"No contract is at chain.registry_address {NOWHERE} on chain" in pay(
            *arguments, code=1
        )

    def test_without_a_registry(self, v1: V1, pay: Pay, arguments: list[str]) -> None:
        configure(v1, NOWHERE, registry_address="")
        assert "chain.registry_address is not set" in pay(*arguments, code=1)

    def test_without_a_key(self, v1: V1, pay: Pay, arguments: list[str]) -> None:
        configure(v1, NOWHERE, wallet={})
        assert "infernet-edge wallet new" in pay(*arguments, code=1)

    def test_with_mistakes_in_the_configuration(self, pay: Pay, arguments: list[str]) -> None:
        Path("config.json").write_text("{")
        assert "JSON" in pay(*arguments, code=78)


@pytest.mark.parametrize("action", ["create", "show"])
def test_without_a_server(v1: V1, pay: Pay, action: str) -> None:
    payment = None if action == "create" else NOWHERE
    configure(v1, payment, rpc_url=f"http://127.0.0.1:{free_port()}/secret-path")
    output = pay(action, code=1)
    assert "No JSON-RPC server of chain.rpc_url answers" in output
    assert "secret-path" not in output


def test_a_registry_without_a_factory(v1: V1, pay: Pay) -> None:
    """No gas is spent on a call that would do nothing."""
    names = [v1.coordinator, v1.inbox, v1.reader, v1.fee]
    addresses = [contract.address for contract in names]
    configure(v1, registry_address=deploy(v1.anvil, "Registry", *addresses, ALICE.address).address)
    assert f"{ALICE.address}, which chain.registry_address" in pay("create", code=1)
    assert v1.anvil.nonce(NODE.address) == 0
