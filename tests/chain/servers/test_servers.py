"""Each server that the node is tried against, with some callbacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chain.servers.measuring import measure
from tests.chain.servers.profiles import PROFILES, Profile
from tests.support.evm import V1


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
async def test_callbacks_are_answered_through(tmp_path: Path, v1: V1, profile: Profile) -> None:
    rate = profile.behaviour.requests_per_second
    is_slow = rate is not None and 1 < rate <= 5
    callbacks = (3, 1) if is_slow else (7, 2)
    v1.anvil.set_automine(False)
    with v1.anvil.blocks_every(2.0 if is_slow else 0.5):
        measured = await measure(v1, profile, tmp_path, callbacks=callbacks, within=40)
    assert measured.delivered == measured.answers == measured.asked, measured
