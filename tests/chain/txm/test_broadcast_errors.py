from __future__ import annotations

import pytest

from infernet_edge.chain.rpc.client import RpcError
from infernet_edge.chain.txm.broadcast_errors import BroadcastAnswer, meaning

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
        "ReplacementNotAllowed",
        "INTERNAL_ERROR: could not replace existing tx",
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
        "txpool is full",
    ],
    BroadcastAnswer.UNKNOWN_TYPE: [
        "transaction type not supported",
        "invalid transaction type",
        "EIP-1559 style fee params (maxFeePerGas or maxPriorityFeePerGas) received but they are"
        " not supported by the current hardfork.",
    ],
    BroadcastAnswer.REFUSED: [
        "intrinsic gas too low",
        "exceeds block gas limit",
        "invalid sender",
        "max priority fee per gas higher than max fee per gas",
        "tx fee (2.00 ether) exceeds the configured cap (1.00 ether)",
        "invalid chain id for signer: have 1 want 5",
    ],
    BroadcastAnswer.UNCLEAR: [
        "internal error",
        "",
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
