"""`infernet-edge jobs --onchain`: what contracts have asked, and what became of it."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from infernet_edge.cli.main import main
from tests.support.asking import call_back, received, subscribe
from tests.support.evm import NODE, V1
from tests.support.onchain import on_chain, settled, until_state
from tests.support.running import RunningNode


async def run_command(node: RunningNode, *arguments: str) -> int:
    """Run the command beside the running node."""
    storage = node.node.config.storage_path
    path = storage.parent / "jobs.json"
    path.write_text(json.dumps({"storage": {"path": str(storage)}}))
    return await asyncio.to_thread(main, ["jobs", *arguments, "--config", str(path)])


async def test_subscriptions_and_deliveries(
    tmp_path: Path, v1: V1, capsys: pytest.CaptureFixture[str]
) -> None:
    callback, recurring = v1.deploy("CallbackConsumer"), v1.deploy("SubscriptionConsumer")
    async with on_chain(tmp_path, v1=v1) as (node, _):
        assert await run_command(node, "--onchain") == 0
        assert "--skipped" in capsys.readouterr().out
        assert await run_command(node, "--onchain", "--skipped") == 0
        assert capsys.readouterr().out == "Nothing was skipped.\n"
        subscribe(v1, recurring, frequency=4, period=9000)
        call_back(v1, callback)
        await received(callback, 1)
        await settled(node)
        await until_state(node, 2, "completed")
        assert await run_command(node, "--onchain") == 0
        head, second, first, title, delivery, transaction = capsys.readouterr().out.splitlines()
        assert (head, title) == ("Subscriptions", "Deliveries")
        assert re.fullmatch(rf" +2  \S+Z  completed  {callback.address}  echo", second)
        assert re.fullmatch(
            rf" +1  \S+Z  active +{recurring.address}  echo  4 times, every 9000 s", first
        )
        assert "delivered" in delivery
        assert "subscription 2  interval 1" in delivery
        assert v1.anvil.transaction(transaction.split()[-1]) is not None
        assert await run_command(node, "--onchain", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert [each["id"] for each in found["subscriptions"]] == [2, 1]
        assert found["deliveries"][0]["subscription"] == 2


async def test_what_is_skipped_has_its_reason(
    tmp_path: Path, v1: V1, capsys: pytest.CaptureFixture[str]
) -> None:
    consumer = v1.deploy("CallbackConsumer")
    payment = {"wallet": {"payment_address": v1.wallet(NODE).address}}
    async with on_chain(tmp_path, v1=v1, chain=payment) as (node, _):
        call_back(v1, consumer, "other")
        call_back(v1, consumer, amount=7, wallet=consumer.address)
        await settled(node)
        await until_state(node, 2, "failed")
        assert await run_command(node, "--onchain", "--skipped") == 0
        out = capsys.readouterr().out
        assert "Subscriptions that this node does not serve\n     1  " in out
        assert "reason: Container not supported, container 0x" in out
        assert "Deliveries that were skipped" in out
        assert "reason: InvalidWallet: the consumer's wallet" in out
        assert await run_command(node, "--onchain") == 0
        assert f"pays 7 wei from {consumer.address}" in capsys.readouterr().out


def test_skipped_is_about_the_chain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"storage": {"path": str(tmp_path)}}))
    assert main(["jobs", "--skipped", "--config", str(path)]) == 2
    assert "--onchain" in capsys.readouterr().err
