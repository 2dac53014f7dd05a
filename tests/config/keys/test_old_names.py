"""Keys of older versions of the Infernet node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.config import Config, ConfigurationError, load

URL = "https://rpc.example/v2/secret-key"


def loaded(folder: Path, document: Any, **environment: str) -> tuple[Config, list[str]]:
    file = folder / "config.json"
    file.write_text(json.dumps(document))
    file.chmod(0o600)
    config, warnings, _ = load(file, environment)
    return config, warnings


def test_old_names_are_read(tmp_path: Path) -> None:
    document = {
        "log_path": "/var/log/node.log",
        "snapshot_sync": {"sleep": 3.0, "batch_size": 7},
        "chain": {"allowed_sim_errors": ["not enough balance"]},
    }
    config, warnings = loaded(tmp_path, document)
    assert warnings == []
    assert config.log.path == "/var/log/node.log"
    assert config.chain.snapshot_sync.sleep == 3.0
    assert config.chain.snapshot_sync.batch_size == 7
    assert config.chain.wallet.allowed_sim_errors == ["not enough balance"]
    config, warnings = loaded(tmp_path, document | {"chain": None})
    assert config.chain.snapshot_sync.batch_size == 7


def test_the_new_name_takes_precedence(tmp_path: Path) -> None:
    document = {
        "log_path": "/old",
        "log": {"path": "/new"},
        "snapshot_sync": {"batch_size": 7},
        "chain": {"snapshot_sync": {"batch_size": 8}},
    }
    config, warnings = loaded(tmp_path, document)
    assert config.log.path == "/new"
    assert config.chain.snapshot_sync.batch_size == 8
    assert warnings == [
        "log_path is ignored: it is the old name of log.path, which is set",
        "snapshot_sync is ignored: it is the old name of chain.snapshot_sync, which is set",
    ]
    assert loaded(tmp_path, document | {"log_path": "/new"})[1] == warnings[1:]


def test_old_names_in_the_environment(tmp_path: Path) -> None:
    config, warnings = loaded(tmp_path, {}, INFERNET_EDGE_LOG_PATH="/x")
    assert config.log.path == "/x"
    assert warnings == []


@pytest.mark.parametrize("chain", [7, {"wallet": 7}])
def test_values_of_a_wrong_type_are_errors_at_their_new_place(tmp_path: Path, chain: Any) -> None:
    if isinstance(chain, dict):
        chain["allowed_sim_errors"] = []
    with pytest.raises(ConfigurationError) as refused:
        loaded(tmp_path, {"chain": chain, "snapshot_sync": {"sleep": "x"}, "log_path": 7})
    paths = {problem.path for problem in refused.value.problems}
    assert "log.path" in paths
    assert paths & {"chain", "chain.wallet"}


def test_the_address_of_a_websocket_is_not_used(tmp_path: Path) -> None:
    chain = {"enabled": True, "rpc_ws": "wss://rpc.example/v2/secret-key"}
    with pytest.raises(ConfigurationError) as refused:
        loaded(tmp_path, {"chain": chain})
    text = str(refused.value)
    assert "chain.rpc_url: found nothing" in text
    assert "note: chain.rpc_ws is ignored, since the node uses no WebSocket: set chain" in text
    assert "secret-key" not in text
    config, warnings = loaded(tmp_path, {"chain": {"rpc_ws": URL}})
    assert (config.chain.rpc_url, warnings) == (URL, [])
    config, warnings = loaded(tmp_path, {"chain": {"rpc_ws": "ws://x", "rpc_url": URL}})
    assert config.chain.rpc_url == URL
    assert warnings == ["chain.rpc_ws is ignored: chain.rpc_url is used, a WebSocket is not needed"]
