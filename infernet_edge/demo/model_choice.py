"""What the user of `demo --model` chose, and what runs it."""

from __future__ import annotations

from typing import Final, NamedTuple

from infernet_edge.config.model import Container

CONTAINER: Final = "model"
"""The id of the container in the demo."""

STANDARD_URL: Final = "http://127.0.0.1:8080"
"""Where llama.cpp's server listens if nothing else is asked for."""

LOAD_TIMEOUT: Final = 600.0
"""Seconds for a server to load its model; a large one from an SD card takes minutes."""

ANSWER_TIMEOUT: Final = 20.0
"""Seconds for an answer that needs no model: the list of models, a probe."""

MAX_BYTES: Final = 2**20
"""Of a list of models, and of one event of a stream."""

FORMS: Final = (
    "--model takes the URL of a model server that runs, such as http://127.0.0.1:8080"
    " (llama.cpp), http://127.0.0.1:11434 (Ollama) or http://127.0.0.1:8000 (vLLM); or a GGUF"
    " file. It downloads no models."
)


class ModelChoice(NamedTuple):
    """What the user named: a URL or a file; a model of several, "" for the first; the file of a key
    for the URL and an image for the file, "" for none."""

    what: str
    name: str = ""
    key_file: str = ""
    image: str = ""


class ModelService(NamedTuple):
    """A container for the demo's node, the name of its model, and where it runs, in words.

    `command` starts it again at STANDARD_URL, where the demo itself runs it.
    """

    container: Container
    model: str
    runs: str
    command: str = ""


def some_of(names: list[str]) -> str:
    """The first five names."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
