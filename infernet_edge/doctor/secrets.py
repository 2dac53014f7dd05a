"""Can others on this machine read a key, a password, a token or the jobs?"""

from __future__ import annotations

import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from infernet_edge.config.tree import Config, Secret
from infernet_edge.doctor.case import Case
from infernet_edge.doctor.finding import Finding, ok, problem

NAME = "secrets"


async def check(case: Case) -> Finding:
    """Look at the modes of the files that hold them.

    Files that the configuration only names, {"file": …}, are looked at when it is loaded.
    """
    return await case.blocking(_check_blocking, case.config, case.source)


def _check_blocking(config: Config, source: Path | None) -> Finding:
    paths = [path for path in _places(config, source) if _others_can_read(path)]
    if paths:
        shown = [str(path) for path in paths]
        return problem(f"others can read {', '.join(shown)}", f"chmod go= {shlex.join(shown)}")
    return ok("only the node's user can read the configuration's secrets and the jobs")


def _places(config: Config, source: Path | None) -> Iterator[Path]:
    if source is not None and _holds_any(source, _secrets(config)):
        yield source
    if config.chain.wallet.keystore:
        yield Path(config.chain.wallet.keystore).expanduser()
    if config.server.tls is not None:
        yield Path(config.server.tls.key)
    yield config.storage_path


def _secrets(config: Config) -> list[Secret]:
    wallet = config.chain.wallet
    found = [
        *(wallet.private_key, wallet.keystore_password, config.docker.password),
        *config.server.tokens.values(),
        *(container.bearer for container in config.containers),
    ]
    return [secret for secret in found if secret]


def _holds_any(file: Path, secrets: list[Secret]) -> bool:
    """Whether one stands in the file itself: it may also come from elsewhere."""
    try:
        text = file.read_text("utf-8", "replace")
    except OSError:
        return False
    return any(secret.reveal() in text for secret in secrets)


def _others_can_read(path: Path) -> bool:
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
    except OSError:  # it is not there yet, or not for this user either
        return False
