"""The page of the chain in a real browser, in front of a real EVM."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.asking import call_back
from tests.support.chromium import Chromium
from tests.support.client import Api, eventually
from tests.support.echo import EchoService
from tests.support.evm import NODE, V1
from tests.support.node import NodeProcess

pytestmark = pytest.mark.xdist_group("chromium live")


def test_subscriptions_and_deliveries_are_shown_as_they_happen(
    chromium: Chromium, echo: EchoService, tmp_path: Path, v1: V1
) -> None:
    consumer = v1.deploy("CallbackConsumer")
    chain = {
        "enabled": True,
        "rpc_url": v1.anvil.url,
        "registry_address": v1.registry.address,
        "trail_head_blocks": 0,
        "snapshot_sync": {"sync_period": 0.1},
        "wallet": {"private_key": NODE.key.hex()},
    }
    containers = [{"id": "echo", "url": echo.url}]
    with NodeProcess({"chain": chain, "containers": containers}, tmp_path) as node:
        api = Api(node.port)
        eventually(lambda: api.get("/api/overview").json["chain"])
        with chromium.page(node.url) as page:
            page.open("#/")
            page.wait(".tile >> text=Chain")
            page.click("nav >> text=Chain")
            page.wait("text=No contract has asked this node yet.")
            page.wait("text=Nothing was delivered yet.")

            served = call_back(v1, consumer)
            skipped = call_back(v1, consumer, "other")
            page.wait(f'tr[data-key="{skipped}"] >> text=not supported', 30_000)
            page.wait(".chip.ok >> text=Delivered", 30_000)
            delivery: dict[str, Any] = api.get("/api/chain/deliveries").json["items"][0]
            assert delivery["subscription"] == served
            hash_ = delivery["transaction"]
            assert v1.anvil.transaction(hash_) is not None
            assert f"{hash_[:6]}…{hash_[-4:]}" in page.text("main")
            page.wait(".chip.ok >> text=In step")
            head = f"Block {v1.anvil.block().number:,}"
            page.wait(f"text={head}")
            assert re.search(r"Balance\s+[\d,.]+ ETH", page.text("main"))
            page.wait(f"text={v1.anvil.url.removeprefix('http://')}")
            row = page.page.locator("tr", has_text=f"#{served}/1")
            paid, gas = row.locator("td.meta", has_text="ETH").all_inner_texts()
            assert paid == "0 ETH"  # this consumer pays nothing
            assert gas != "0 ETH"
            page.wait("text=/enough for about [0-9,]+ deliveries/")

            page.click(".segments >> text=Skipped")
            listed = page.page.locator("section.card", has_text="Subscriptions")
            listed.locator(f'tr[data-key="{served}"]').wait_for(state="hidden")
            page.wait(f'tr[data-key="{skipped}"] .chip.idle >> text=Skipped')
            with page.page.expect_response("**/api/chain/deliveries*"):
                page.go("#/chain?show=skipped&again")  # now the served one is not listed before
            page.page.wait_for_timeout(500)
            assert row.locator("td.meta", has_text="ETH").all_inner_texts() == [paid, gas]
            v1.anvil.mine()
            page.wait(f"text=Block {v1.anvil.block().number:,}", 20_000)  # by an event
