"""The benchmark of the on-chain half works, and the promises that need no quiet machine hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.details.onchain import ChainExtent, chain_table, measure_chain
from tests.support.evm import anvil_path

TINY = ChainExtent(starts=1, settle=2.0, watched=2.5, waiting=5, deliveries=2)


@pytest.mark.nightly
def test_a_tiny_run_measures_everything(tmp_path: Path) -> None:
    anvil_path()
    results = measure_chain(TINY, tmp_path, say=lambda line: None)
    for asking in (results.idle, results.waiting):
        # A poll each half second, and one more at each end of the short window.
        assert 0 < asking.per_second <= 2 + 2 / TINY.watched
        known = {"eth_getBlockByNumber", "eth_chainId", "eth_call", "eth_getLogs"}
        assert set(asking.methods) <= known
    assert results.on.pss_mebibytes < 75
    assert len(results.delivered.blocks) == 2
    assert min(results.delivered.blocks) > 0
    assert len(chain_table(results).splitlines()) == 12
