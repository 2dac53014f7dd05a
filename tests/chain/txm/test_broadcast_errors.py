from __future__ import annotations

import pytest

from infernet_edge.chain.rpc.client import RpcError
from infernet_edge.chain.txm.broadcast_errors import (
    BroadcastAnswer,
    FeeFloor,
    is_below_base_fee,
    meaning,
    named_floor,
)

WORDS = {
    BroadcastAnswer.TAKEN: [
        "already known",
        "ALREADY_EXISTS: already known",
        "AlreadyKnown",
        "known transaction: abc",
    ],
    BroadcastAnswer.NONCE_USED: [
        "nonce too low",
        "nonce too low: next nonce 5, tx nonce 4",
        "replacement transaction underpriced",
        "OldNonce",
        "invalid nonce; got 18, expected 32: invalid sequence: invalid sequence",
        "ReplacementNotAllowed",
        "INTERNAL_ERROR: could not replace existing tx",
        "Transaction gas price supplied is too low. There is another transaction with same nonce"
        " in the queue. Try increasing the gas price or incrementing the nonce.",
    ],
    BroadcastAnswer.NO_FUNDS: [
        "insufficient funds for gas * price + value: balance 1, tx cost 2, overshot 1",
        "InsufficientFunds, Account balance: 0, cumulative cost: 5",
        "Upfront cost exceeds account balance",
    ],
    BroadcastAnswer.TOO_CHEAP: [
        "transaction underpriced",
        "max fee per gas less than block base fee: address 0x1, maxFeePerGas: 1, baseFee: 2",
        "FeeTooLow",
        "Gas price below configured minimum gas price",
        "gas price below minimum",
        "FeeTooLowToCompete",
        "UNDERPRICED: underpriced",
        "Priority fee per gas below configured minimum",
        "miner premium is negative",
        "There are too many transactions in the queue. Your transaction was dropped due to limit."
        " Try increasing the fee.",
    ],
    BroadcastAnswer.POOL_FULL: [
        "txpool is full",
        "sequencer pending tx pool full, please try again",
        "account limit exceeded: pooled 16 txs",
    ],
    BroadcastAnswer.ONE_AT_A_TIME: [
        "in-flight transaction limit reached for delegated accounts",
        "gapped-nonce tx from delegated accounts",
        "delegation nonce gap",
        "NotCurrentNonceForDelegation",
        "DelegatorHasPendingTx",
        "authority already reserved",
    ],
    BroadcastAnswer.UNKNOWN_TYPE: [
        "transaction type not supported",
        "invalid transaction type",
        "EIP-1559 style fee params (maxFeePerGas or maxPriorityFeePerGas) received but they are"
        " not supported by the current hardfork.",
    ],
    BroadcastAnswer.REFUSED: [
        "intrinsic gas too low",
        "intrinsic gas too low: gas 21000, minimum needed 53000",
        "exceeds block gas limit",
        "invalid sender",
        "max priority fee per gas higher than max fee per gas",
        "tx fee (2.00 ether) exceeds the configured cap (1.00 ether)",
        "invalid chain id for signer: have 1 want 5",
    ],
    BroadcastAnswer.UNCLEAR: [
        "internal error",
        "",
        "invalid nonce; got 9, expected 8: invalid sequence",
        "upstream request timeout",
        "service unavailable",
    ],
}


@pytest.mark.parametrize(
    ("answer", "words"), [(answer, text) for answer, texts in WORDS.items() for text in texts]
)
def test_words_of_servers(answer: BroadcastAnswer, words: str) -> None:
    assert meaning(RpcError(-32000, words)) is answer
    assert meaning(RpcError(-32000, words.upper())) is answer


TIP, PRICE = 25 * 10**9, 30 * 10**9
FLOORS = {
    f"transaction gas price below minimum: gas tip cap 1000000000, minimum needed {TIP}": TIP,
    f"transaction underpriced: gas tip cap 1000000000, minimum needed {TIP}": TIP,
    f"transaction underpriced: tip needed {TIP}, tip permitted 1000000000": TIP,
    f"transaction underpriced: address 0x8db97C7cE have gas tip cap (5) < pool gas tip cap ({TIP})":
        TIP,
    f"FeeTooLow, EffectivePriorityFeePerGas too low 10 < {TIP}, BaseFee: 30": TIP,
    f"transaction priority fee below minimum required priority fee {TIP}": TIP,
    "max priority fee per gas 1 is less than the minimum of 25 gwei": TIP,
    "priority fee 1 gwei too low, at least 25.0 Gwei are needed": TIP,
}  # fmt: skip
PRICES = {
    f"transaction underpriced: address 0x8d have gas fee cap (5) < pool minimum fee cap ({PRICE})",
    f"FeeTooLow, FeePerGas needs to be higher than {PRICE - 1} to be added to the TxPool.",
    f"It does not satisfy your node's minimal gas price (minimal: {PRICE} got: 50). Try more.",
    f"It does not satisfy your node's minimal gas price (minimal: {PRICE}, got: 50). Try more.",
    f"[Request ID: e4d09e44] Gas price '8300' is below configured minimum gas price '{PRICE}'",
    f"gas price too low: 18000000000 wei, use at least tx.gasPrice = {PRICE} wei",
    "gas price 5 gwei too low, minimum is 30 gwei",
}


@pytest.mark.parametrize(
    ("words", "floor"),
    [(words, FeeFloor(tip=tip)) for words, tip in FLOORS.items()]
    + [(words, FeeFloor(price=PRICE)) for words in sorted(PRICES)],
)
def test_floors_that_servers_name(words: str, floor: FeeFloor) -> None:
    assert meaning(RpcError(-32000, words)) is BroadcastAnswer.TOO_CHEAP
    assert named_floor(words) == floor
    assert not is_below_base_fee(words)


@pytest.mark.parametrize(
    "words",
    [
        "FeeTooLow, MaxFeePerGas too low. MaxFeePerGas: 50, BaseFee: 100, Block number: 5",
        "max fee per gas less than block base fee: address 0x20, maxFeePerGas: 1, baseFee: 2",
        "gas price less than block base fee",
        "miner premium is negative",
    ],
)
def test_the_base_fee_is_no_floor(words: str) -> None:
    """It changes with each block."""
    assert meaning(RpcError(-32000, words)) is BroadcastAnswer.TOO_CHEAP
    assert is_below_base_fee(words)
    assert named_floor(words) == FeeFloor()


@pytest.mark.parametrize(
    "words",
    [
        "transaction underpriced",
        "Gas price below configured minimum gas price",
        "gas price is below the minimum gas price 0x5d21dba00",
        "the minimum of 0x12 is not 12",
    ],
)
def test_errors_that_name_no_floor(words: str) -> None:
    assert named_floor(words) == FeeFloor()
