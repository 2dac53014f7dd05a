"""The tree of all settings: complete and documented."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from infernet_edge.config.decoding import Conversion
from infernet_edge.config.model import Config
from infernet_edge.config.rendering import Key, keys, to_toml
from infernet_edge.config.secret_files import Secret

# Every key that the configuration of Infernet 1.4 has, and every key of ours.
KNOWN = re.findall(
    r"\S+",
    """
log.path log.max_file_size log.backup_count manage_containers startup_wait server.port
server.rate_limit.num_requests server.rate_limit.period redis forward_stats stats.host
stats.port docker.username docker.password containers.id containers.image containers.url
containers.bearer containers.port containers.external containers.gpu
containers.accepted_payments containers.allowed_ips containers.allowed_addresses
containers.allowed_delegate_addresses containers.description containers.command containers.env
containers.volumes containers.generates_proofs chain.enabled chain.rpc_url
chain.trail_head_blocks chain.registry_address chain.wallet.private_key
chain.wallet.payment_address chain.wallet.max_gas_limit chain.wallet.allowed_sim_errors
chain.snapshot_sync.sleep chain.snapshot_sync.batch_size chain.snapshot_sync.starting_sub_id
chain.snapshot_sync.sync_period server.host server.max_body_bytes server.trusted_proxies
server.allowed_hosts server.tokens server.tls.cert server.tls.key storage.path
storage.min_free_bytes storage.max_bytes jobs.max_pending jobs.retention jobs.on_restart
jobs.max_attempts containers.timeout containers.max_concurrency containers.memory
containers.cpus containers.pids containers.devices containers.models containers.task
containers.type containers.health_path podman.url chain.coordinator_address chain.pipelines
""",
)

# The defaults that a user of the reference node relies on, and those that ours promises.
DEFAULTS: dict[str, Any] = {
    "log.path": None,
    "log.max_file_size": 10 * 2**20,
    "log.backup_count": 2,
    "manage_containers": True,
    "startup_wait": 5.0,
    "server.host": "0.0.0.0",
    "server.port": 4000,
    "server.max_body_bytes": 16 * 2**20,
    "server.rate_limit.num_requests": 60,
    "server.rate_limit.period": 60,
    "forward_stats": False,
    "containers.port": 3000,
    "containers.external": True,
    "containers.gpu": False,
    "containers.generates_proofs": False,
    "containers.timeout": 180,
    "containers.max_concurrency": 8,
    "containers.pids": 512,
    "chain.enabled": False,
    "chain.trail_head_blocks": 1,
    "chain.wallet.max_gas_limit": 5_000_000,
    "chain.snapshot_sync.sleep": 1.0,
    "chain.snapshot_sync.batch_size": 500,
    "chain.snapshot_sync.starting_sub_id": 0,
    "chain.snapshot_sync.sync_period": 0.5,
    "storage.min_free_bytes": 200 * 2**20,
    "storage.max_bytes": 2 * 2**30,
    "jobs.max_pending": 10_000,
    "jobs.retention": 7 * 24 * 3600,
    "jobs.on_restart": "retry",
    "jobs.max_attempts": 3,
}


def leaves(target: type[msgspec.Struct] = Config, path: str = "") -> Iterator[tuple[str, Key]]:
    for key in keys(target):
        below = f"{path}.{key.name}" if path else key.name
        if table := key.table or key.item_table:
            yield from leaves(table, below)
        else:
            yield below, key


def test_every_setting_of_the_specification_is_there() -> None:
    assert set(KNOWN) <= {path for path, _ in leaves()}


def test_every_setting_is_documented() -> None:
    """In the tree, and in the file that `infernet-edge init` writes."""
    text = to_toml({})
    served = [(path, key) for path, key in leaves() if key.is_served]
    for path, key in served:
        assert key.description, path
        assert not key.description.endswith("."), path
        assert re.search(rf"^#?{re.escape(key.name)} =", text, re.MULTILINE), path
    flat = " ".join(text.replace("#", " ").split())
    for path, key in served:
        assert " ".join(key.description.split()) in flat, path


def test_defaults() -> None:
    found = {path: key.default for path, key in leaves()}
    assert {path: found[path] for path in DEFAULTS} == DEFAULTS


def test_the_defaults_of_the_node_and_of_the_tree_are_the_same() -> None:
    assert Config() == Conversion().struct({}, Config, "")


def test_a_secret_is_never_shown() -> None:
    secret = Secret("hunter2")
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!r}", repr([secret])):
        assert "hunter2" not in text
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2")
    assert secret != Secret("other")
    assert secret != "hunter2"
    assert hash(secret) == hash(Secret("hunter2"))
    assert not Secret("")
    assert copy.copy(secret) == secret
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)


def test_a_configuration_is_never_changed() -> None:
    with pytest.raises(AttributeError):
        Config().server.port = 1  # type: ignore[misc]
