"""`infernet-edge jobs --onchain`: what contracts have asked, and what became of it."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.cli.main import main
from tests.support.asking import call_back, received, subscribe
from tests.support.delegated import request_v1
from tests.support.evm import ALICE, NODE, OTHER_NODE, V1
from tests.support.onchain import chain_of, on_chain, settled, until_state
from tests.support.running import RunningNode, running


def words(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, on one line; all lines fit a terminal."""
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    return " ".join(out.split())


async def until_problem(node: RunningNode, problem: str) -> None:
    """Wait until the node reports a problem of the chain."""
    async with asyncio.timeout(20):
        while True:
            status = await chain_of(node).status()
            if status is not None and any(problem in each for each in status["problems"]):
                return
            await asyncio.sleep(0.05)


async def until_read(node: RunningNode) -> None:
    """Wait until the node knows what subscriptions there are."""
    async with asyncio.timeout(20):
        while not ((await chain_of(node).status()) or {}).get("next_id"):
            await asyncio.sleep(0.05)


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
        await until_read(node)
        assert await run_command(node, "--onchain") == 0
        assert words(capsys).startswith(
            f"None yet. The coordinator {v1.coordinator.address} has no subscription."
        )
        assert await run_command(node, "--onchain", "--skipped") == 0
        assert capsys.readouterr().out == "Nothing was skipped.\n"
        subscribe(v1, recurring, frequency=4, period=9000)
        call_back(v1, callback)
        await received(callback, 1)
        await settled(node)
        await until_state(node, 2, "completed")
        assert await run_command(node, "--onchain") == 0
        head, second, of_second, first, of_first, title, delivery, of_delivery, transaction = (
            capsys.readouterr().out.splitlines()
        )
        assert (head, title) == ("Subscriptions", "Deliveries")
        assert re.fullmatch(r" +2  \S+Z  completed  echo", second)
        assert of_second.split() == ["of", callback.address]
        assert re.fullmatch(r" +1  \S+Z  active +echo, 4 times, every 9000 s", first)
        assert of_first.split() == ["of", recurring.address]
        assert re.fullmatch(r" +1  \S+Z  delivered  subscription 2, interval 1", delivery)
        assert of_delivery.split() == ["of", f"{callback.address}:", "echo"]
        assert v1.anvil.transaction(transaction.split()[-1]) is not None
        assert await run_command(node, "--onchain", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert [each["id"] for each in found["subscriptions"]] == [2, 1]
        assert (found["chain"]["problems"], found["chain"]["next_id"]) == ([], 3)
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
        out = words(capsys)
        assert "Subscriptions that this node does not serve 1 " in out
        assert "ignored unknown containers" in out
        assert "reason: Container not supported, container 0x" in out
        assert "Deliveries that were skipped" in out
        assert "reason: InvalidWallet: the consumer's wallet" in out
        assert await run_command(node, "--onchain") == 0
        assert f"pays 7 wei from {consumer.address}" in words(capsys)


async def test_a_missing_payment_address_is_the_reason(
    tmp_path: Path, v1: V1, capsys: pytest.CaptureFixture[str]
) -> None:
    """The containers are known, so they are not the reason."""
    consumer = v1.deploy("CallbackConsumer")
    async with on_chain(tmp_path, v1=v1) as (node, _):
        call_back(v1, consumer, amount=7, wallet=consumer.address)
        await until_state(node, 1, "ignored")
        assert await run_command(node, "--onchain", "--skipped") == 0
        out = words(capsys)
        assert "ignored echo of" in out
        assert "reason: Node has no payment address, amount 7" in out
        assert "infernet-edge wallet pay create" in out
        assert "unknown" not in out


async def test_an_answer_of_others_is_not_called_delivered(
    tmp_path: Path, v1: V1, capsys: pytest.CaptureFixture[str]
) -> None:
    consumer = v1.deploy("DelegatedConsumer", ALICE.address)
    request = request_v1(v1, consumer)
    request.deliver(v1.coordinator, output=b"theirs", sender=OTHER_NODE)
    async with on_chain(tmp_path, v1=v1) as (node, _):
        assert (await node.post("/api/jobs", request.body)).status == 200
        await settled(node)
        assert await run_command(node, "--onchain") == 0
        out = words(capsys)
        assert "answered by others subscription nonce" in out
        assert "delivered" not in out


WRONG = "0x" + 40 * "3"


@pytest.mark.parametrize("skipped", [[], ["--skipped"]])
@pytest.mark.parametrize(
    ("chain", "problem"),
    [
        ({"rpc_url": "http://127.0.0.1:1/key"}, "No JSON-RPC server of chain.rpc_url answers"),
        ({"registry_address": WRONG}, f"No contract is at chain.registry_address {WRONG} on"),
        ({"registry_address": "coordinator"}, "is no Infernet registry"),
        ({"coordinator_address": WRONG}, f"No contract is at chain.coordinator_address {WRONG}"),
        ({"wallet": {"payment_address": WRONG}}, f"payment_address {WRONG} was not made by"),
        ({"wallet": {"private_key": 32 * "11"}}, "2A has no coins on chain 31337"),
    ],
)
async def test_what_prevents_deliveries_is_never_hidden(
    tmp_path: Path,
    v1: V1,
    capsys: pytest.CaptureFixture[str],
    chain: dict[str, Any],
    problem: str,
    skipped: list[str],
) -> None:
    if chain.get("registry_address") == "coordinator":
        chain = {"registry_address": v1.coordinator.address}
    async with on_chain(tmp_path, v1=v1, chain=chain) as (node, _):
        await until_problem(node, problem)
        assert await run_command(node, "--onchain", *skipped) == 0
        out = capsys.readouterr().out
        assert problem in " ".join(out.split())
        assert "None yet" not in out
        assert "Nothing was skipped" not in out
        assert max(map(len, out.splitlines())) <= 80
        assert await run_command(node, "--onchain", "--json", *skipped) == 0
        (found,) = json.loads(capsys.readouterr().out)["chain"]["problems"]
        assert problem in found
        assert (await node.get("/health")).body == {"status": "healthy"}


async def test_before_the_first_block_nothing_is_claimed(
    tmp_path: Path, v1: V1, capsys: pytest.CaptureFixture[str]
) -> None:
    v1.anvil.pause()
    try:
        async with on_chain(tmp_path, v1=v1) as (node, _):
            assert await run_command(node, "--onchain", "--skipped") == 0
    finally:
        v1.anvil.resume()
    out = words(capsys)
    assert "Nothing was skipped" not in out
    assert "cannot be read: no answer within 3 seconds" in out


@pytest.mark.parametrize("arguments", [["--onchain"], ["--onchain", "--json"]])
async def test_the_chain_is_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    async with running(tmp_path) as node:
        assert await run_command(node, *arguments) == 0
    out = capsys.readouterr().out
    if "--json" in arguments:
        off: dict[str, Any] = {
            "enabled": False,
            "chain": None,
            "subscriptions": [],
            "deliveries": [],
        }
        assert json.loads(out) == off
    else:
        assert "The chain is off" in out


def test_skipped_is_about_the_chain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"storage": {"path": str(tmp_path)}}))
    assert main(["jobs", "--skipped", "--config", str(path)]) == 2
    assert "--onchain" in capsys.readouterr().err
