"""An HTTP proxy in front of a JSON-RPC server that notes what is asked.

with CountingProxy(anvil.url) as proxy:
    ...  # a node whose chain.rpc_url is proxy.url
    print(len(proxy.requests), proxy.requests[-1].methods)
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit


class Asked(NamedTuple):
    """One HTTP request: when it came (seconds of the steady clock), and the methods in it.

    `functions` are the selectors of the contracts' functions that its eth_calls call.
    """

    time: float
    methods: tuple[str, ...]
    functions: tuple[bytes, ...]


class CountingProxy:
    """Hands requests on to `target` (a URL), from threads of its own."""

    def __init__(self, target: str) -> None:
        self.requests: list[Asked] = []
        proxy, parts = self, urlsplit(target)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are two writes
            timeout = 60

            def setup(self) -> None:
                super().setup()
                self.server_side = http.client.HTTPConnection(
                    str(parts.hostname), parts.port, timeout=30
                )

            def handle(self) -> None:
                try:
                    super().handle()
                except ConnectionError:
                    self.close_connection = True  # who asked was killed while it waited

            def do_POST(self) -> None:
                try:
                    self.hand_on()
                except (OSError, http.client.HTTPException):
                    self.close_connection = True  # one side has gone: the other sees just that

            def hand_on(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                proxy.note(body)
                self.server_side.request("POST", "/", body, {"content-type": "application/json"})
                answer = self.server_side.getresponse()
                content = answer.read()
                self.send_response(answer.status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def finish(self) -> None:
                self.server_side.close()
                super().finish()

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def note(self, body: bytes) -> None:
        """Remember a request."""
        calls = json.loads(body)
        calls = calls if isinstance(calls, list) else [calls]
        methods = tuple(call["method"] for call in calls)
        questions = [call["params"][0] for call in calls if call["method"] == "eth_call"]
        functions = tuple(bytes.fromhex(question["data"][2:10]) for question in questions)
        self.requests.append(Asked(time.monotonic(), methods, functions))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
