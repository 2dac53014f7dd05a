"""A real EVM (anvil) for tests, and a small synchronous client for it.

    with Anvil() as anvil:
        token = deploy(anvil, "Token")
        token.send("mint", ALICE.address, 5)
        assert token.call("balanceOf", ALICE.address) == 5

Addresses are EIP-55 checksummed texts, money is in wei, times are chain seconds. The contracts are
those of tests/contracts; tests/setup installs anvil.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import pytest
from eth_abi.abi import decode, encode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

import infernet_edge.chain  # noqa: F401 - sets right what importing eth_account did to the process
from tests.support.abi import (
    Reverted,
    abi_type,
    artifact,
    encode_arguments,
    event_arguments,
    readable,
    selector,
    signature,
)
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
NPM = ROOT / ".cache/tests/npm/node_modules"

CHAIN_ID = 31337
NOBODY = "0x" + "00" * 20
COIN = NOBODY
"""The address that stands for the chain's own coin where a token's address is expected."""
ETHER = 10**18


def account(name: str) -> LocalAccount:
    """Return an account that is always the same for a name."""
    made: LocalAccount = Account.from_key(keccak(text=f"infernet-edge tests: {name}"))
    return made


DEPLOYER = account("deployer")
ALICE = account("alice")
"""Uses contracts, and signs for consumers."""
NODE = account("node")
OTHER_NODE = account("other node")
FEE_RECIPIENT = account("fee recipient")
FUNDED = (DEPLOYER, ALICE, NODE, OTHER_NODE)


class RpcFailure(Exception):
    """The EVM answered with an error; `data` is what a contract reverted with."""

    def __init__(self, code: int, message: str, data: bytes) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.data = data


class Receipt(NamedTuple):
    """What became of a transaction."""

    hash: str
    succeeded: bool
    block: int
    gas_used: int
    logs: list[dict[str, Any]]
    contract: str


class Block(NamedTuple):
    """A block, with the hashes of its transactions."""

    number: int
    timestamp: int
    hash: str
    base_fee: int
    transactions: list[str]


def anvil_path() -> Path:
    """Return where anvil is.

    Without it the test is skipped, or fails when the environment says CI=true.
    """
    local = NPM / ".bin/anvil"
    if local.exists():
        return local
    if found := shutil.which("anvil"):
        return Path(found)
    reason = "anvil is missing: run tests/setup"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class Anvil:
    """An EVM as a process of its own on a free port of loopback.

    Without `block_time` (seconds) each transaction is mined at once, in a block of its own, but
    shortly after the answer to whoever sent it; with it, blocks come at that pace. With
    `mining=False` blocks come only through `mine`.
    `arguments` are given to anvil as they are.
    """

    def __init__(
        self,
        *,
        block_time: float | None = None,
        mining: bool = True,
        chain_id: int = CHAIN_ID,
        arguments: Sequence[str] = (),
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.chain_id = chain_id
        self.starts = 0
        self.timeout = 30.0  # seconds that the test's own connection waits for an answer
        self._arguments = [f"--chain-id={chain_id}", "--accounts=1", *arguments]
        if block_time is not None:
            self._arguments.append(f"--block-time={block_time}")
        if not mining:
            self._arguments.append("--no-mining")
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # The process

    def start(self) -> None:
        """Start a fresh chain, whose accounts in FUNDED are rich."""
        assert self._process is None, "already started"
        self.starts += 1
        command = [str(anvil_path()), "--host=127.0.0.1", f"--port={self.port}", "--silent"]
        self._process = subprocess.Popen(
            [*command, *self._arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise
        for rich in FUNDED:
            self.set_balance(rich.address, 10_000 * ETHER)

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + 90  # a fraction of a second on a machine that is not busy
        while not self._answers():
            assert self._process.poll() is None, "anvil ended at its start"
            assert time.monotonic() < deadline, "anvil does not answer"
            time.sleep(0.01)

    def stop(self) -> None:
        """End the process, if it runs; the chain is lost."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(10)
        self._process = None

    @property
    def running(self) -> bool:
        """Whether the process is there, be it paused."""
        return self._process is not None and self._process.poll() is None

    def pause(self) -> None:
        """Leave requests without answers until `resume`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        status = Path(f"/proc/{self._process.pid}/stat")
        while status.read_text().rpartition(")")[2].split()[0] != "T":  # not at once, under load
            time.sleep(0.001)

    def resume(self) -> None:
        """Answer again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            self.rpc("eth_chainId")
        except (OSError, http.client.HTTPException):
            return False
        return True

    # JSON-RPC

    def rpc(self, method: str, *params: Any) -> Any:
        """Call a method of the EVM and return its result.

        Raises RpcFailure when it answers with an error, OSError when it does not answer.
        """
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        return _result(json.loads(self._post(body)))

    def batch(self, method: str, many: Sequence[Sequence[Any]]) -> list[Any]:
        """Call a method with many lists of parameters in one request; the results in their order.

        Raises as `rpc` does, with the first error; what stands before it has had its effect.
        """
        calls = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, params in enumerate(many)
        ]
        answers = json.loads(self._post(json.dumps(calls)))
        return [_result(answer) for answer in sorted(answers, key=lambda answer: answer["id"])]

    def _post(self, body: str) -> bytes:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                "127.0.0.1", self.port, timeout=self.timeout
            )
        if self._connection.sock is not None:
            self._connection.sock.settimeout(self.timeout)
        try:
            self._connection.request("POST", "/", body, {"content-type": "application/json"})
            return self._connection.getresponse().read()
        except BaseException:
            self._connection.close()
            self._connection = None
            raise

    # Blocks and time

    def block(self, number: int | str = "latest") -> Block:
        """Return a block by its number, or "latest" or "pending"."""
        tag = hex(number) if isinstance(number, int) else number
        found = self.rpc("eth_getBlockByNumber", tag, False)
        return Block(
            int(found["number"], 16),
            int(found["timestamp"], 16),
            found["hash"] or "",
            int(found["baseFeePerGas"], 16),
            found["transactions"],
        )

    def mine(self, blocks: int = 1, seconds: int = 1) -> None:
        """Mine blocks that are `seconds` apart."""
        self.rpc("anvil_mine", hex(blocks), hex(seconds))

    def now(self) -> int:
        """Return the time of the latest block."""
        return self.block().timestamp

    def set_time(self, timestamp: int) -> None:
        """Mine a block at this time; the chain's clock goes on from there."""
        self.rpc("evm_setNextBlockTimestamp", timestamp)
        self.rpc("evm_mine")

    def increase_time(self, seconds: int) -> None:
        """Mine a block this much later than the latest one."""
        self.set_time(self.now() + seconds)

    def set_automine(self, on: bool) -> None:
        """Mine each transaction at once, or none before `mine`."""
        self.rpc("evm_setAutomine", on)

    @contextlib.contextmanager
    def blocks_every(self, seconds: float) -> Iterator[None]:
        """Mine a block each so many seconds within the block of code; the chain's are apart by 1.

        What waits is mined in them, also while the test does something else.
        """
        other = Anvil(chain_id=self.chain_id)
        other.port = self.port
        ended = threading.Event()

        def mine() -> None:
            while not ended.wait(seconds):
                other.mine()

        thread = threading.Thread(target=mine, name="blocks")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(10)
            other.stop()

    def set_block_time(self, seconds: int) -> None:
        """Mine a block each so many seconds; 0: no longer."""
        self.rpc("evm_setIntervalMining", seconds)

    def set_base_fee(self, wei: int) -> None:
        """Set the base fee of the next block."""
        self.rpc("anvil_setNextBlockBaseFeePerGas", hex(wei))

    def snapshot(self) -> str:
        """Remember the chain as it is, for `revert`."""
        return str(self.rpc("evm_snapshot"))

    def revert(self, snapshot: str) -> None:
        """Go back to a snapshot, which is used up by that."""
        assert self.rpc("evm_revert", snapshot) is True

    def reorg(self, depth: int, transactions: Sequence[tuple[str, int]] = ()) -> None:
        """Replace the last `depth` blocks by as many others.

        Those are empty but for `transactions`: (signed raw transaction, number of the block in the
        new ones).
        """
        self.rpc("anvil_reorg", depth, [list(transaction) for transaction in transactions])

    def logs(
        self, address: str, topics: Sequence[str | None] = (), from_block: int = 0
    ) -> list[dict[str, Any]]:
        """Return the logs of a contract."""
        found = self.rpc(
            "eth_getLogs",
            {"address": address, "topics": list(topics), "fromBlock": hex(from_block)},
        )
        assert isinstance(found, list)
        return found

    def ask(self, question: dict[str, Any], block: str = "latest") -> bytes:
        """Return what an eth_call returns. Raises Reverted."""
        with _reverting():
            return bytes.fromhex(self.rpc("eth_call", question, block)[2:])

    # Accounts and transactions

    def balance(self, address: str) -> int:
        """Return the coins of an account."""
        return int(self.rpc("eth_getBalance", address, "latest"), 16)

    def set_balance(self, address: str, wei: int) -> None:
        """Give an account exactly so much."""
        self.rpc("anvil_setBalance", address, hex(wei))

    def nonce(self, address: str, block: str = "latest") -> int:
        """Return the number of an account's transactions."""
        return int(self.rpc("eth_getTransactionCount", address, block), 16)

    def set_nonce(self, address: str, nonce: int) -> None:
        """Let an account have sent so many transactions."""
        self.rpc("anvil_setNonce", address, hex(nonce))

    def drop_transaction(self, transaction: str) -> None:
        """Remove a transaction from the mempool."""
        self.rpc("anvil_dropTransaction", transaction)

    def mempool(self) -> list[str]:
        """Return the hashes of the transactions that wait to be mined."""
        content = self.rpc("txpool_content")
        return [
            transaction["hash"]
            for state in ("pending", "queued")
            for of_account in content[state].values()
            for transaction in of_account.values()
        ]

    def transaction(self, transaction: str) -> dict[str, Any] | None:
        """Return a transaction as the RPC gives it, or None."""
        found: dict[str, Any] | None = self.rpc("eth_getTransactionByHash", transaction)
        return found

    def receipt(self, transaction: str) -> Receipt | None:
        """Return the receipt of a transaction, or None when it is not mined."""
        found = self.rpc("eth_getTransactionReceipt", transaction)
        if found is None:
            return None
        return Receipt(
            found["transactionHash"],
            found["status"] == "0x1",
            int(found["blockNumber"], 16),
            int(found["gasUsed"], 16),
            found["logs"],
            to_checksum_address(found["contractAddress"]) if found["contractAddress"] else "",
        )

    def wait_for_receipt(self, transaction: str, timeout: float = 60.0) -> Receipt:
        """Return the receipt as soon as there is one."""
        deadline = time.monotonic() + timeout
        while (found := self.receipt(transaction)) is None:
            assert time.monotonic() < deadline, f"{transaction} is not mined after {timeout} s"
            time.sleep(0.01)
        return found

    def send_raw(
        self,
        sender: LocalAccount,
        to: str | None,
        data: bytes = b"",
        *,
        value: int = 0,
        gas: int | None = None,
        nonce: int | None = None,
        gas_price: int | None = None,
    ) -> str:
        """Sign and send a transaction and return its hash.

        Without `gas` it is estimated. Raises Reverted when that reverts.
        """
        fields: dict[str, Any] = {"data": "0x" + data.hex(), "value": hex(value)}
        if to is not None:
            fields["to"] = to
        if gas is None:
            with _reverting():
                question = {"from": sender.address} | fields
                gas = int(self.rpc("eth_estimateGas", question, "pending"), 16) * 5 // 4
        fields |= {
            "value": value,
            "gas": gas,
            "nonce": self.nonce(sender.address, "pending") if nonce is None else nonce,
            "gasPrice": gas_price or 2 * self.block().base_fee + 10**9,
            "chainId": self.chain_id,
        }
        signed = sender.sign_transaction(fields)
        return str(self.rpc("eth_sendRawTransaction", "0x" + signed.raw_transaction.hex()))


def _result(answer: dict[str, Any]) -> Any:
    if "error" not in answer:
        return answer["result"]
    error = answer["error"]
    data = error.get("data")
    raise RpcFailure(
        error["code"],
        error["message"],
        bytes.fromhex(data[2:]) if isinstance(data, str) and data.startswith("0x") else b"",
    )


@contextlib.contextmanager
def _reverting() -> Iterator[None]:
    """Turn an RPC's error that comes from a contract into Reverted."""
    try:
        yield
    except RpcFailure as failure:
        if failure.code == 3 or failure.data:
            raise Reverted(failure.data) from failure
        raise


# Contracts


class Contract:
    """A contract at an address, called by the names of its functions.

    Structs are given as tuples or dicts, and returned as dicts.
    """

    def __init__(self, anvil: Anvil, name: str, address: str) -> None:
        self.anvil = anvil
        self.name = name
        self.address = address
        self._entries = {
            (entry["type"], entry["name"]): entry
            for entry in artifact(name)["abi"]
            if "name" in entry
        }

    def selector(self, function: str) -> bytes:
        """Return the four bytes by which a function is called."""
        return selector(self._entries["function", function])

    def encode(self, function: str, *arguments: Any) -> bytes:
        """Return the data of a call."""
        entry = self._entries["function", function]
        return selector(entry) + encode_arguments(entry["inputs"], arguments)

    def decode(self, function: str, data: bytes) -> Any:
        """Return what a function returned: its one value, or a tuple."""
        outputs = self._entries["function", function]["outputs"]
        values = decode([abi_type(part) for part in outputs], data)
        found = tuple(readable(part, value) for part, value in zip(outputs, values, strict=True))
        return found[0] if len(found) == 1 else found

    def call(
        self,
        function: str,
        *arguments: Any,
        sender: LocalAccount = DEPLOYER,
        block: str = "latest",
    ) -> Any:
        """Return what a function would return now. Raises Reverted."""
        data = "0x" + self.encode(function, *arguments).hex()
        question = {"from": sender.address, "to": self.address, "data": data}
        return self.decode(function, self.anvil.ask(question, block))

    def send(
        self,
        function: str,
        *arguments: Any,
        sender: LocalAccount = DEPLOYER,
        value: int = 0,
        gas: int | None = None,
    ) -> Receipt:
        """Call a function in a transaction and wait until it is mined.

        Raises Reverted when it would revert now; with `gas` it is sent nonetheless.
        """
        data = self.encode(function, *arguments)
        return self.anvil.wait_for_receipt(
            self.anvil.send_raw(sender, self.address, data, value=value, gas=gas)
        )

    def events(self, name: str, from_block: int = 0) -> list[dict[str, Any]]:
        """Return the arguments of all events of a name, oldest first."""
        entry = self._entries["event", name]
        topic = "0x" + keccak(text=signature(entry)).hex()
        logs = self.anvil.logs(self.address, [topic], from_block)
        return [event_arguments(entry, log) for log in logs]


def deploy(anvil: Anvil, name: str, *arguments: Any) -> Contract:
    """Put a contract on the chain."""
    compiled = artifact(name)
    constructors = [entry for entry in compiled["abi"] if entry["type"] == "constructor"]
    inputs = constructors[0]["inputs"] if constructors else []
    code = bytes.fromhex(compiled["bytecode"]) + encode_arguments(inputs, arguments)
    receipt = anvil.wait_for_receipt(anvil.send_raw(DEPLOYER, None, code, gas=8_000_000))
    assert receipt.succeeded, f"{name} could not be deployed"
    return Contract(anvil, name, receipt.contract)


def future_address(creator: str, nonce: int) -> str:
    """Return the address of the contract that an account's transaction `nonce` will create."""
    number = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    item = number if 0 < nonce < 0x80 else bytes([0x80 + len(number)]) + number
    pair = b"\x94" + bytes.fromhex(creator[2:]) + item  # RLP: 20 bytes, then an integer
    return to_checksum_address(keccak(bytes([0xC0 + len(pair)]) + pair)[12:])


# Deployments


class _Deployment:
    """What the coordinators of both generations have in common."""

    anvil: Anvil
    coordinator: Contract

    def newest_id(self) -> int:
        """Return the id of the newest subscription; 0: there is none."""
        return int(self.coordinator.call("id")) - 1

    def redundancy_count(self, subscription_id: int, interval: int) -> int:
        """Return how many nodes have answered an interval."""
        key = keccak(encode(["uint32", "uint32"], [subscription_id, interval]))
        return int(self.coordinator.call("redundancyCount", key))

    def node_responded(self, subscription_id: int, interval: int, node: str) -> bool:
        """Return whether a node has answered an interval."""
        key = keccak(encode(["uint32", "uint32", "address"], [subscription_id, interval, node]))
        return bool(self.coordinator.call("nodeResponded", key))

    def delegated_id(self, owner: str, nonce: int) -> int:
        """Return the id of a delegated subscription; 0: it is not on the chain."""
        key = keccak(encode(["address", "uint32"], [owner, nonce]))
        return int(self.coordinator.call("delegateCreatedIds", key))

    def fulfilled(self) -> list[dict[str, Any]]:
        """Return all deliveries: {"id": …, "node": …}."""
        return self.coordinator.events("SubscriptionFulfilled")


class V1(_Deployment):
    """The contracts of SDK 1.x."""

    def __init__(self, anvil: Anvil, *, fee: int = 0) -> None:
        """Deploy them; `fee` is the protocol's, in hundredths of a percent."""
        self.anvil = anvil
        first = anvil.nonce(DEPLOYER.address)
        coordinator, inbox, reader, fees, factory = (
            future_address(DEPLOYER.address, first + offset) for offset in (4, 1, 5, 2, 3)
        )
        self.registry = deploy(anvil, "Registry", coordinator, inbox, reader, fees, factory)
        registry = self.registry.address
        self.inbox = deploy(anvil, "Inbox", registry)
        self.fee = deploy(anvil, "Fee", FEE_RECIPIENT.address, fee)
        self.wallet_factory = deploy(anvil, "WalletFactory", registry)
        self.coordinator = deploy(anvil, "EIP712Coordinator", registry)
        self.reader = deploy(anvil, "Reader", registry)
        assert self.coordinator.address == coordinator

    def deploy(self, name: str, *arguments: Any) -> Contract:
        """Deploy a contract whose constructor takes the registry, then `arguments`."""
        return deploy(self.anvil, name, self.registry.address, *arguments)

    def wallet(
        self, owner: LocalAccount, *, coins: int = 0, token: Contract | None = None, tokens: int = 0
    ) -> Contract:
        """Create a wallet with the factory and put money into it."""
        self.wallet_factory.send("createWallet", owner.address)
        address = self.wallet_factory.events("WalletCreated")[-1]["wallet"]
        if coins:
            self.anvil.set_balance(address, coins)
        if token is not None:
            token.send("mint", address, tokens)
        return Contract(self.anvil, "Wallet", address)

    def lock(self, wallet: Contract, spender: LocalAccount, token: str, amount: int) -> None:
        """Lock approved money in a wallet, as the coordinator does while a proof is judged."""
        coordinator = self.coordinator.address
        self.anvil.rpc("anvil_impersonateAccount", coordinator)
        self.anvil.set_balance(coordinator, ETHER)
        data = "0x" + wallet.encode("cLock", spender.address, token, amount).hex()
        call = {"from": coordinator, "to": wallet.address, "data": data}
        sent = self.anvil.rpc("eth_sendTransaction", call)
        assert self.anvil.wait_for_receipt(sent).succeeded
        self.anvil.rpc("anvil_stopImpersonatingAccount", coordinator)

    def subscription(self, subscription_id: int) -> dict[str, Any]:
        """Return a subscription by the contract's own names of its fields."""
        found: dict[str, Any] = self.coordinator.call("getSubscription", subscription_id)
        return found


class V0(_Deployment):
    """The coordinator of SDK 0.1."""

    def __init__(self, anvil: Anvil) -> None:
        self.anvil = anvil
        self.coordinator = deploy(anvil, "CoordinatorV0")

    def consumer(self, signer: LocalAccount = ALICE) -> Contract:
        """Deploy a consumer for which `signer` signs."""
        return deploy(self.anvil, "ConsumerV0", self.coordinator.address, signer.address)

    def activate(self, node: LocalAccount) -> None:
        """Register a node, let the hour pass, and activate it."""
        self.coordinator.send("registerNode", node.address, sender=node)
        self.anvil.increase_time(3600)
        self.coordinator.send("activateNode", sender=node)


def deploy_v1(anvil: Anvil, *, fee: int = 0) -> V1:
    """Deploy the contracts of SDK 1.x; `fee` is the protocol's, in hundredths of a percent."""
    return V1(anvil, fee=fee)


def deploy_v0(anvil: Anvil) -> V0:
    """Deploy the coordinator of SDK 0.1."""
    return V0(anvil)


def deliveries(consumer: Contract) -> list[dict[str, Any]]:
    """Return what a consumer has received, oldest first."""
    count = int(consumer.call("deliveryCount"))
    return [consumer.call("delivery", index) for index in range(count)]
