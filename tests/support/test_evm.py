"""What tests ask of the EVM: blocks, time, the mempool, reorganisations, an RPC that hangs."""

from __future__ import annotations

import pytest

from tests.support.evm import ALICE, ETHER, NODE, Anvil, RpcFailure


def pay(anvil: Anvil, *, nonce: int | None = None, value: int = 1) -> str:
    return anvil.send_raw(ALICE, NODE.address, value=value, gas=21_000, nonce=nonce)


def test_each_transaction_is_mined_at_once() -> None:
    with Anvil() as anvil:
        before = anvil.block().number
        receipt = anvil.wait_for_receipt(pay(anvil, value=ETHER))
        assert receipt.succeeded
        assert anvil.block().number == before + 1
        assert anvil.balance(NODE.address) == 10_001 * ETHER
        assert anvil.rpc("eth_chainId") == hex(anvil.chain_id)


def test_blocks_come_when_asked_for() -> None:
    with Anvil(mining=False, chain_id=99) as anvil:
        first, second = pay(anvil), pay(anvil)
        assert set(anvil.mempool()) == {first, second}
        assert anvil.receipt(first) is None
        assert anvil.nonce(ALICE.address) == 0
        assert anvil.nonce(ALICE.address, "pending") == 2
        anvil.drop_transaction(second)
        anvil.mine()
        assert anvil.block().transactions == [first]
        assert anvil.transaction(second) is None
        assert anvil.rpc("eth_chainId") == "0x63"


def test_many_calls_are_made_at_once() -> None:
    with Anvil(mining=False) as anvil:
        [rich] = anvil.rpc("eth_accounts")
        payment = {"from": rich, "to": NODE.address, "value": "0x1"}
        sent = anvil.batch("eth_sendTransaction", [[payment | {"nonce": hex(n)}] for n in range(3)])
        anvil.mine()
        assert anvil.block().transactions == sent
        with pytest.raises(RpcFailure):
            anvil.batch("eth_getBalance", [[rich, "latest"], ["nobody", "latest"]])


def test_blocks_come_with_time() -> None:
    with Anvil(block_time=1) as anvil:
        receipt = anvil.wait_for_receipt(pay(anvil))
        assert receipt.block >= 1


def test_the_mode_of_mining_can_be_changed() -> None:
    with Anvil() as anvil:
        anvil.set_automine(False)
        waiting = pay(anvil)
        assert anvil.receipt(waiting) is None
        anvil.set_block_time(1)
        anvil.wait_for_receipt(waiting)


def test_time_is_what_the_test_says() -> None:
    with Anvil() as anvil:
        start = anvil.now()
        anvil.increase_time(1000)
        assert anvil.now() == start + 1000
        anvil.mine(3, seconds=10)
        assert anvil.now() >= start + 1020
        anvil.set_time(start + 5000)
        assert anvil.block().timestamp == start + 5000


def test_a_snapshot_is_gone_back_to() -> None:
    with Anvil() as anvil:
        snapshot = anvil.snapshot()
        block = anvil.block()
        anvil.wait_for_receipt(pay(anvil))
        anvil.revert(snapshot)
        assert anvil.block() == block
        assert anvil.nonce(ALICE.address) == 0


def test_a_reorganisation_forgets_transactions_and_may_keep_some() -> None:
    with Anvil() as anvil:
        first = anvil.wait_for_receipt(pay(anvil)).hash
        second = anvil.wait_for_receipt(pay(anvil)).hash
        raw = anvil.rpc("eth_getRawTransactionByHash", first)
        old = anvil.block()
        anvil.reorg(2, [(raw, 0)])
        new = anvil.block()
        assert new.number == old.number
        assert new.hash != old.hash
        assert anvil.receipt(first) is not None
        assert anvil.receipt(second) is None


def test_the_accounts_can_be_anything() -> None:
    with Anvil() as anvil:
        anvil.set_balance(ALICE.address, 5)
        with pytest.raises(RpcFailure, match="nsufficient funds"):
            pay(anvil)
        anvil.set_balance(ALICE.address, ETHER)
        anvil.set_nonce(ALICE.address, 7)
        with pytest.raises(RpcFailure, match="nonce too low"):
            pay(anvil, nonce=6)
        anvil.set_base_fee(10**10)
        anvil.mine()
        assert anvil.block().base_fee == 10**10


def test_an_evm_can_hang_and_go_on() -> None:
    with Anvil() as anvil:
        anvil.pause()
        anvil.timeout = 0.2
        with pytest.raises(TimeoutError):
            anvil.now()
        anvil.resume()
        anvil.timeout = 30.0
        assert anvil.now() > 0


def test_an_evm_can_go_away() -> None:
    with Anvil() as anvil:
        anvil.stop()
        with pytest.raises(OSError, match="refused"):
            anvil.now()
        anvil.start()
        assert anvil.block().number == 0
