"""Certificates for tests, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple


class Certificate(NamedTuple):
    """A self-signed certificate and its key, as PEM files."""

    cert: Path
    key: Path

    @property
    def settings(self) -> dict[str, str]:
        """The value of server.tls."""
        return {"cert": str(self.cert), "key": str(self.key)}


def make_certificate(folder: Path, names: str = "DNS:localhost,IP:127.0.0.1") -> Certificate:
    """A certificate for these names, valid for two days."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    files = ["-out", str(made.cert), "-keyout", str(made.key)]
    subprocess.run(
        [*command.split(), "-subj", "/CN=node", "-addext", f"subjectAltName={names}", *files],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return made
