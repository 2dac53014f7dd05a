"""What is read of a certificate: compared with what OpenSSL says."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infernet_edge.api.overview.certificate import read_certificate

KINDS = ["ed25519", "rsa:2048", "ec -pkeyopt ec_paramgen_curve:prime256v1"]


def openssl(arguments: str, folder: Path) -> str:
    done = subprocess.run(
        ["openssl", *arguments.split()],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("days", [1, 30, 36_500])  # the last ends after 2049: another kind of time
def test_certificates_of_openssl(tmp_path: Path, kind: str, days: int) -> None:
    openssl(f"req -x509 -newkey {kind} -nodes -days {days} -subj /CN=x -keyout k -out c", tmp_path)
    said = openssl("x509 -in c -noout -enddate -fingerprint -sha256", tmp_path).splitlines()
    end = datetime.strptime(said[0].partition("=")[2], "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    found = read_certificate(tmp_path / "c")
    assert found is not None
    assert found.fingerprint == said[1].partition("=")[2].replace(":", "").lower()
    assert found.not_after == int(end.timestamp()) * 1000


def test_the_first_of_a_chain_counts(tmp_path: Path) -> None:
    for name in ("a", "b"):
        openssl(
            f"req -x509 -newkey ed25519 -nodes -days 2 -subj /CN={name} -keyout k -out {name}",
            tmp_path,
        )
    first, second = (tmp_path / "a").read_text(), (tmp_path / "b").read_text()
    (tmp_path / "chain").write_text(f"a text before\n{first}{second}")
    assert read_certificate(tmp_path / "chain") == read_certificate(tmp_path / "a")


@pytest.mark.parametrize("text", ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_what_is_no_certificate(tmp_path: Path, text: str) -> None:
    (tmp_path / "c").write_text(text)
    assert read_certificate(tmp_path / "c") is None
    assert read_certificate(tmp_path / "missing") is None


def test_damaged_contents_have_no_end(tmp_path: Path) -> None:
    openssl("req -x509 -newkey ed25519 -nodes -days 2 -subj /CN=x -keyout k -out c", tmp_path)
    lines = (tmp_path / "c").read_text().splitlines()
    for cut in range(1, len(lines) - 2):
        (tmp_path / "d").write_text("\n".join([*lines[:cut], lines[-1]]))
        found = read_certificate(tmp_path / "d")
        assert found is None or found.not_after is None or found == read_certificate(tmp_path / "c")
