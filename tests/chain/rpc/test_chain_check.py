from __future__ import annotations

from typing import Any

import pytest

from infernet_edge.chain.rpc.chain_check import ChainCheck
from infernet_edge.chain.rpc.errors import Cause, EndpointFailure
from tests.support.events import listen


def test_the_first_answer_decides() -> None:
    check = ChainCheck()
    check.check("a", "0x5")
    check.check("b", 5)
    assert check.found == 5
    for _ in range(3):
        with listen("infernet_edge.chain.rpc") as events, pytest.raises(EndpointFailure) as raised:
            check.check("b", "0x6")
        assert raised.value.cause is Cause.CHAIN
    assert not events.seen, "it was logged once"
    assert check.found == 5


def test_only_the_expected_chain_is_accepted() -> None:
    check = ChainCheck()
    check.expected = 7
    with pytest.raises(EndpointFailure, match="serves chain 5, but this node works on chain 7"):
        check.check("a", "0x5")
    assert check.found is None
    check.check("a", "0x7")
    assert check.found == 7


@pytest.mark.parametrize("answer", [None, "five", True, [], {}, 1.5])
def test_what_is_no_chain_id(answer: Any) -> None:
    with pytest.raises(EndpointFailure, match="gives no chain id"):
        ChainCheck().check("a", answer)
