"""The table of the servers that the node is tried against, for the documentation."""

from __future__ import annotations

from tests.chain.servers.profiles import ANSWERS, BATCHES, RATES, SECOND, TRANSACTIONS

_PARTS = (
    ("Batches that are too large", BATCHES),
    ("More than so many requests or calls", RATES),
    ("Answers", ANSWERS),
    ("Transactions", TRANSACTIONS),
    ("Of no use, with a second server", SECOND),
)


def documentation() -> str:
    """The lines of the table in infernet_edge/docs/on-chain.md."""
    lines = ["| server | what it does |", "|---|---|"]
    for title, profiles in _PARTS:
        lines.append(f"| **{title}** | |")
        lines += [f"| {profile.name} | {profile.does} |" for profile in profiles]
    return "\n".join(lines)
