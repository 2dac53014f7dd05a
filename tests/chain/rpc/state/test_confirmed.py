from __future__ import annotations

from infernet_edge.chain.rpc.errors import RpcError
from infernet_edge.chain.rpc.state.confirmed import ConfirmedErrors
from tests.support.clock import Clock


def test_errors_are_known_for_a_while_and_not_without_limit() -> None:
    clock = Clock()
    confirmed = ConfirmedErrors(clock)
    error = RpcError(-32000, "header not found")
    assert not confirmed.is_known("eth_call", error)
    confirmed.note("eth_call", error)
    assert confirmed.is_known("eth_call", error)
    assert not confirmed.is_known("eth_getLogs", error)
    assert not confirmed.is_known("eth_call", RpcError(-32000, "other"))
    clock.now += 61
    assert not confirmed.is_known("eth_call", error)
    for number in range(1000):
        confirmed.note("eth_call", RpcError(number, "oh"))
    known = sum(confirmed.is_known("eth_call", RpcError(number, "oh")) for number in range(1000))
    assert known == 64
