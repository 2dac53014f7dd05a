"""The servers in the documentation are those that are tried."""

from __future__ import annotations

from collections import Counter

from tests.chain.servers.profiles import PROFILES
from tests.chain.servers.table import documentation
from tests.support.markdown import DOCS


def test_the_documentation_lists_the_servers_that_are_tried() -> None:
    expected = "replace the table by what `python -m tests.chain.servers --documentation` prints"
    assert f"\n{documentation()}\n" in (DOCS / "on-chain.md").read_text(), expected


def test_each_server_has_a_name_of_its_own() -> None:
    names = Counter(profile.name for profile in PROFILES)
    assert names.most_common(1)[0][1] == 1
