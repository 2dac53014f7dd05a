"""A real node, run as a process of its own.

with NodeProcess({"containers": [{"id": "echo", "url": echo.url}]}, tmp_path) as node:
    ...  # node.url, node.pid, node.log(), node.stop(), node.kill(), node.restart()
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.ports import free_port
from tests.support.process import ServerProcess

__all__ = ["NodeProcess", "free_port"]


NODE_MODULES = ("infernet_edge.cli.main", "infernet_edge.cli.run", "infernet_edge.node", "uvloop")


class NodeProcess(ServerProcess):
    """A node with `config` laid over settings that suit a test.

    The settings: a free port of 127.0.0.1, no rate limit, its data in `folder`/data, no watch on
    free disk space, containers not managed. A restart keeps port and data. Unless it is
    `fresh`, its process is forked from one that has imported the node, see template.py.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        folder: Path,
        *,
        command: Sequence[str] = (sys.executable, "-m", "infernet_edge"),
        env: Mapping[str, str] | None = None,
        ready_within: float = 60.0,
        fresh: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.data_path = folder / "data"
        self.config_path = folder / "config.json"
        self.config = _laid_over(_for_tests(self.data_path), config)
        self.port = int(self.config["server"]["port"])
        scheme = "https" if self.config["server"].get("tls") else "http"
        super().__init__(
            [*command, "run", "--config", str(self.config_path)],
            f"{scheme}://127.0.0.1:{self.port}",
            folder / "node.log",
            env=env,
            ready_within=ready_within,
            imported=() if fresh else self._modules(),
        )

    def _modules(self) -> tuple[str, ...]:
        on_chain = self.config.get("chain", {}).get("enabled")
        return (*NODE_MODULES, "infernet_edge.chain.chain") if on_chain else NODE_MODULES

    def launch(self) -> None:
        """Write `config`, which a test may have changed, and start without waiting."""
        self.config_path.write_text(json.dumps(self.config, indent=2))
        self.config_path.chmod(0o600)
        super().launch()


def _for_tests(data_path: Path) -> dict[str, Any]:
    return {
        "server": {"host": "127.0.0.1", "port": free_port(), "rate_limit": {"num_requests": 0}},
        "storage": {"path": str(data_path), "min_free_bytes": 0},
        "manage_containers": False,
    }


def _laid_over(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(under, dict) and isinstance(value, Mapping):
            merged[key] = _laid_over(under, value)
        else:
            merged[key] = value
    return merged
