"""The authorities of the machine are read when HTTPS is used, and only then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.certificates import Certificate, make_certificate
from tests.support.process import ROOT

# What a node does with a container behind HTTPS: prints whether the authorities are read before,
# and the end of each of two requests.
_REQUESTS = """
import asyncio, ssl, sys
import uvloop
from infernet_edge.http_client.authorities import client_context, read_authorities
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import ConnectFailed
from infernet_edge.http_client.urls import parse_url
from infernet_edge.config.model import Chain, Config, Container

async def answer(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\ndone")
    await writer.drain()
    writer.close()

async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    url = "https://127.0.0.1:%d/" % server.sockets[0].getsockname()[1]
    read_authorities(Config(containers=[Container(id="a", url="http://127.0.0.1:1")]))
    print(len(client_context().get_ca_certs()))
    if sys.argv[3] == "early":
        read_authorities(Config(containers=[Container(id="a", url=url.upper())]))
        print(len(client_context().get_ca_certs()))
    elif sys.argv[3] == "chain":
        read_authorities(Config(chain=Chain(enabled=True, rpc_url=["http://x", url])))
        print(len(client_context().get_ca_certs()))
    async with HttpClient() as http:
        for name in ("127.0.0.1", "localhost"):
            try:
                target = parse_url(url.replace("127.0.0.1", name))
                async with await http.request("GET", target) as response:
                    print((await response.whole(100)).decode())
            except ConnectFailed as error:
                print(error.os_error.verify_message)
    server.close()

uvloop.run(main())
"""


def _requests(made: Certificate, trusted: Path, when: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _REQUESTS, str(made.cert), str(made.key), when],
        cwd=ROOT,
        env={**os.environ, "SSL_CERT_FILE": str(trusted), "SSL_CERT_DIR": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_server_that_an_authority_knows(tmp_path: Path) -> None:
    made = make_certificate(tmp_path / "known", "IP:127.0.0.1")
    mismatch = "Hostname mismatch, certificate is not valid for 'localhost'."
    assert _requests(made, made.cert, "late") == ["0", "done", mismatch]
    assert _requests(made, made.cert, "early") == ["0", "1", "done", mismatch]
    assert _requests(made, made.cert, "chain") == ["0", "1", "done", mismatch]


def test_a_server_that_none_knows(tmp_path: Path) -> None:
    made = make_certificate(tmp_path / "unknown")
    other = make_certificate(tmp_path / "other")
    refused = "self-signed certificate"
    assert _requests(made, other.cert, "late") == ["0", refused, refused]


def test_it_verifies_as_the_default_context_does() -> None:
    program = (
        "import ssl\n"
        "from infernet_edge.http_client import authorities\n"
        "context, default = authorities.client_context(), ssl.create_default_context()\n"
        "for name in ('verify_mode', 'check_hostname', 'verify_flags', 'options',"
        " 'minimum_version', 'maximum_version', 'security_level', 'post_handshake_auth'):\n"
        "    assert getattr(context, name) == getattr(default, name), name\n"
        "assert context.get_ciphers() == default.get_ciphers()\n"
        "context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname='a')\n"
        "assert context.get_ca_certs() == default.get_ca_certs() != []\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
