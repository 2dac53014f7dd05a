"""The benchmark of subscriptions works, and what it counts is as promised; times are not judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.details.subscriptions import (
    SubscriptionExtent,
    measure_subscriptions,
    subscription_table,
)
from tests.support.evm import anvil_path

TINY = SubscriptionExtent(
    subscriptions=60,
    active=10,
    batch_size=20,
    settle=0.0,
    blocks=3,
    restarts=1,
    callbacks=1,
    due=15,
)


@pytest.mark.nightly
def test_a_tiny_run_measures_everything(tmp_path: Path) -> None:
    anvil_path()
    results = measure_subscriptions(TINY, tmp_path, say=lambda line: None)
    snapshot, following, due = results.snapshot, results.following, results.due
    assert snapshot.pages == 3
    assert snapshot.calls == 9  # the next id, subscriptions, and answers to them
    # One more at the edges; and on a busy machine blocks of 1 s may take longer.
    assert following.requests <= 2 * max(following.blocks, following.seconds) + 1
    assert following.footprint.rss < 100
    assert len(results.callbacks) == 1
    assert results.callbacks[0] > 0
    assert (due.answered, due.answers, due.transactions) == (15, 15, 15)
    assert len(subscription_table(results).splitlines()) == 21
