"""The subscriptions table."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infernet_edge.chain.subscriptions import store as subscriptions
from infernet_edge.chain.subscriptions.store import KnownSubscription, SubscriptionStore
from infernet_edge.storage.database import Database
from tests.support.subscriptions import OWNER, TOKEN, subscription_v1

LARGE = 2**256 - 1


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path / "test.sqlite", {"subscriptions": subscriptions.MIGRATIONS})
    await opened.open()
    yield opened
    await opened.close()


def known(
    identifier: int, state: subscriptions.SubscriptionState = "active", reason: str = ""
) -> KnownSubscription:
    content = subscription_v1(payment_amount=LARGE, payment_token=TOKEN, frequency=identifier)
    return KnownSubscription(identifier, content, ("a", "b"), state, reason)


async def test_what_is_active_comes_back_to_the_digit(database: Database) -> None:
    store = SubscriptionStore(database, OWNER)
    assert await store.begin(5, "rules") == (5, [])
    await store.save([known(5), known(6, "ignored", "Container not supported")], 7)
    next_id, found = await store.begin(5, "rules")
    assert next_id == 7
    assert [(each.id, each.containers, each.state) for each in found] == [(5, ("a", "b"), "active")]
    assert found[0].subscription == known(5).subscription
    assert found[0].changed_at > 0


async def test_progress_stays_without_news(database: Database) -> None:
    store = SubscriptionStore(database, OWNER)
    await store.begin(1, "rules")
    await store.save([known(1)], 2)
    await store.save([known(1, "completed")])
    assert await store.begin(1, "rules") == (2, [])


async def test_other_rules_begin_anew(database: Database) -> None:
    store = SubscriptionStore(database, OWNER)
    await store.begin(1, "rules")
    await store.save([known(1)], 2)
    assert await store.begin(1, "others") == (1, [])
    assert await store.newest(10) == []


async def test_deployments_are_kept_apart(database: Database) -> None:
    one, other = SubscriptionStore(database, OWNER), SubscriptionStore(database, TOKEN)
    await one.begin(1, "rules")
    await other.begin(1, "rules")
    await one.save([known(1)], 2)
    assert await other.begin(1, "rules") == (1, [])
    assert await other.newest(10) == []
    same = SubscriptionStore(database, OWNER.lower())
    assert (await same.begin(1, "rules"))[0] == 2


async def test_only_the_newest_of_what_is_over_stay(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "_KEPT", 3)
    store = SubscriptionStore(database, OWNER)
    await store.begin(1, "rules")
    await store.save([known(n) for n in range(1, 5)], 5)
    await store.save([known(n, "ignored") for n in range(5, 15)], 15)
    await store.save([known(n, "expired") for n in range(15, 25)], 25)
    assert [each.id for each in await store.newest(99, ignored=True)] == [14, 13, 12]
    assert [each.id for each in await store.newest(99)] == [24, 23, 22, 4, 3, 2, 1]
    assert [each.id for each in await store.newest(2)] == [24, 23]
