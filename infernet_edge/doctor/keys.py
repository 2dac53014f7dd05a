"""Can others on this machine read the configuration, and with it a key or tokens?"""

from __future__ import annotations

import stat
from pathlib import Path

from infernet_edge.config.tree import Config
from infernet_edge.doctor.finding import Finding, ok, problem

NAME = "secrets"


async def check(config: Config, source: Path | None) -> Finding:
    """Look at the mode of the configuration's file, when it holds secrets, and of the storage."""
    wallet = config.chain.wallet
    holds_secrets = bool(wallet.private_key or wallet.keystore_password or config.server.tokens)
    for path in (source if holds_secrets else None, config.storage_path):
        if path is not None and path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            return problem(f"others can read {path}", f"chmod go= {path}")
    return ok("only the node's user can read the configuration's secrets and the jobs")
