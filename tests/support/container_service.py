"""The service inside the tests' images; only the standard library, since the image has no more.

It echoes: {"output": data, "echo": true}; with destination 2 it streams five chunks. What it is
asked to do by fields of `data` (an object):
    sleep: SECONDS before the answer     exit: CODE at once, without an answer
    status: N as the answer's status     allocate: MEGABYTES before the answer
    print: TEXT to the log               page: N as the status of a page of HTML
    hold: true waits, before the answer, until the file /tmp/go exists
    close: SECONDS until the program ends, and accepts no connections after the answer
    show: true answers environment, arguments and what is at the paths in `read`
Arguments: --crash CODE (at once), --need PATH (crashes without it), --deaf (accepts connections,
never answers), --delay SECONDS (before it listens), --unhealthy (GET /health answers 503),
--stubborn (ignores SIGTERM), --single (one request at a time), --port N, --host ADDRESS,
--default-signals (does nothing about SIGTERM), --first (has to be the first process).
"""

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CHUNKS = 5


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    options = argparse.Namespace()
    listener: socket.socket

    def do_GET(self) -> None:
        known = self.path in ("/health", "/")
        healthy = known and not self.options.unhealthy
        self._answer(200 if healthy else 503 if known else 404, {"status": "healthy"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path != "/service_output":
            self._answer(404, {"error": "no such path"})
            return
        request = json.loads(body)
        data = request["data"]
        orders = data if isinstance(data, dict) else {}
        time.sleep(orders.get("sleep", 0))
        while orders.get("hold") and not Path("/tmp/go").exists():
            time.sleep(0.05)
        if "print" in orders:
            print(orders["print"], file=sys.stderr, flush=True)
        if "page" in orders:
            self._answer_with_page(orders["page"])
            return
        if "exit" in orders:
            print("told to exit", file=sys.stderr, flush=True)
            os._exit(orders["exit"])
        if "close" in orders:
            self.listener.shutdown(socket.SHUT_RDWR)  # it does not listen any more
            self.close_connection = True
            threading.Timer(orders["close"], os._exit, [4]).start()
        ballast = bytearray(orders.get("allocate", 0) * 2**20)
        output: dict[str, Any] = {"output": data, "echo": True}
        if orders.get("show"):
            output["environment"] = dict(os.environ)
            output["arguments"] = sys.argv[1:]
            output["files"] = {path: Path(path).read_text() for path in orders.get("read", [])}
        if request.get("destination") == 2:
            self._stream(data)
        else:
            self._answer(orders.get("status", 200), output)
        del ballast

    def _stream(self, data: object) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/octet-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for number in range(CHUNKS):
            chunk = f"{number}:{json.dumps(data)}\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.flush()
            time.sleep(0.02)
        self.wfile.write(b"0\r\n\r\n")

    def _answer(self, status: int, body: object) -> None:
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(encoded)))
        if self.close_connection:
            self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(encoded)

    def _answer_with_page(self, status: int) -> None:
        page = b"<!doctype html><title>Internal Server Error</title>"
        self.send_response(status)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--crash", type=int)
    parser.add_argument("--need", type=Path)
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--delay", type=float, default=0)
    parser.add_argument("--unhealthy", action="store_true")
    parser.add_argument("--stubborn", action="store_true")
    parser.add_argument("--single", action="store_true")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--default-signals", action="store_true")
    parser.add_argument("--first", action="store_true")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    if options.first and os.getpid() != 1:
        sys.exit("s6-overlay-suexec: fatal: can only run as pid 1")
    # The first process of a container gets no default action for signals from the kernel.
    if not options.default_signals:
        ignore = signal.SIG_IGN if options.stubborn else lambda *_: os._exit(0)
        signal.signal(signal.SIGTERM, ignore)
    if options.crash is not None or (options.need is not None and not options.need.exists()):
        print("model file is missing", file=sys.stderr, flush=True)
        sys.exit(3 if options.crash is None else options.crash)
    time.sleep(options.delay)
    if options.deaf:
        listener = socket.create_server(("0.0.0.0", 3000))
        while True:
            listener.accept()[0].close()
    Handler.options = options
    if options.single:
        Handler.protocol_version = "HTTP/1.0"  # a kept connection would block all others
    server = HTTPServer if options.single else ThreadingHTTPServer
    made = server((options.host, options.port), Handler)
    Handler.listener = made.socket
    made.serve_forever()


if __name__ == "__main__":
    main()
