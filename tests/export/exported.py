"""Configurations that are exported, and their secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from infernet_edge.config.loading import build
from infernet_edge.config.model import Config
from infernet_edge.export.plan import Plan, make_plan

KEY: Final = "0x" + "ab" * 32
SECRETS: Final = (
    *("tokentokentoken-1", KEY, "rpc-secret", "bearer-secret", "login-secret", "env-secret"),
)


def rich(folder: Path) -> dict[str, Any]:
    """A configuration with all that an export has to say something about."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    for file in (certificate, key):
        file.touch()
    return {
        "server": {
            "port": 4100,
            "tokens": {"bob": SECRETS[0]},
            "tls": {"cert": str(certificate), "key": str(key)},
        },
        "docker": {"username": "me", "password": "login-secret"},
        "log": {"path": str(folder / "log")},
        "jobs": {"retention": 3600},
        "containers": [
            {
                "id": "Echo_1",
                "image": "localhost/echo:1",
                "command": "--port 3000 'a b' 100% \"$HOME\"",
                "memory": "512m",
                "cpus": 0.5,
                "volumes": ["models:/models:ro", f"{folder}:/here", "My_Data:/data"],
                "env": {"A": "env-secret", "N": 3, "B": True},
                "gpu": "0,1",
                "health_path": "/health",
                "max_concurrency": 3,
            },
            {"id": "echo-1", "image": "docker.io/library/two:1", "devices": ["/dev/dri"]},
            {"id": "third", "image": "x.example/three:1", "container_port": 8000, "gpu": True},
            {"id": "far", "url": "http://127.0.0.1:9", "bearer": "bearer-secret"},
        ],
        "chain": {
            "enabled": True,
            "rpc_url": "http://u:rpc-secret@x.example/KEY",
            "registry_address": "0x5FbDB2315678afecb367f032d93F642f64180aa3",
            "wallet": {"private_key": KEY},
        },
    }


def configuration(document: dict[str, Any]) -> Config:
    """The configuration of a document."""
    return build(document, "test", {})[0]


def plan(document: dict[str, Any], *, show_environment: bool = False) -> Plan:
    """The plan of a document, with the usual name."""
    config = configuration(document)
    name, image = "infernet-edge", "x.example/infernet-edge:1"
    return make_plan(config, name, image, show_environment=show_environment)
