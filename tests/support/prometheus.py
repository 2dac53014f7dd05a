"""Debian's Prometheus, which scrapes a node.

with Prometheus(tmp_path, node.port) as prometheus:
    eventually(lambda: prometheus.values("up") == [1])
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.support.podman import need
from tests.support.ports import free_port
from tests.support.process import ServerProcess

_CONFIGURATION = """
global:
  scrape_interval: 200ms
  scrape_timeout: 200ms
  evaluation_interval: 200ms
rule_files: [{rules}]
scrape_configs:
  - job_name: infernet-edge
    {authorization}
    static_configs:
      - targets: ["{target}"]
"""


class Prometheus(ServerProcess):
    """A server with the alert rules of the package; its data is in `folder`.

    `token` is a file with the token that it sends; None: it sends none.
    """

    def __init__(
        self, folder: Path, node_port: int, rules: Path, token: Path | None = None
    ) -> None:
        need("prometheus")
        port = free_port()
        self._folder = folder
        credentials = "" if token is None else f"authorization: {{credentials_file: {token}}}"
        self._text = _CONFIGURATION.format(
            target=f"127.0.0.1:{node_port}", rules=rules, authorization=credentials
        )
        command = [
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/prometheus",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        log = folder / "prometheus.log"
        url = f"http://127.0.0.1:{port}"
        super().__init__(command, url, log, health_path="/-/ready")

    def launch(self) -> None:
        (self._folder / "prometheus.yml").write_text(self._text)
        super().launch()

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        with urlopen(f"{self.url}/api/v1/{path}{query}", timeout=10) as response:
            answer = json.load(response)
        assert answer["status"] == "success", answer
        return answer["data"]

    def values(self, expression: str) -> list[float]:
        """The values of an expression now."""
        found = self.get("query", query=expression)
        assert found["resultType"] == "vector", found
        return [float(each["value"][1]) for each in found["result"]]


def promtool(*arguments: str, text: str = "") -> str:
    """Run promtool, which has to succeed without a complaint; returns what it prints."""
    need("promtool")
    done = subprocess.run(
        ["promtool", *arguments], input=text, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout
