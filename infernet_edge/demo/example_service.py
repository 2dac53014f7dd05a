"""An Infernet service in one file, with nothing but Python's standard library (3.8 or newer).

    python3 example_service.py --task write --port 3000
    curl http://127.0.0.1:3000/service_output -H 'content-type: application/json' \\
        -d '{"source": 1, "destination": 1, "data": {"prompt": "The house", "length": 20}}'

An Infernet node requires one endpoint: `POST /service_output` takes a JSON object whose `data` is
the input, and answers the output as JSON. `destination` 2 requests a stream instead: plain bytes,
sent as they are generated. To write your own service, copy this file and replace the two models at
its top by yours: a class with `run(data)` and `stream(data)`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

STREAM = 2  # the `destination` of a job whose output is streamed
MAX_BODY = 2**20  # bytes
IDLE_SECONDS = 60  # a connection without a request is closed after this time
GRACE_SECONDS = 5  # maximum time of requests in flight after SIGTERM
SECONDS_PER_WORD = 0.02  # about the speed of a small language model; a Markov chain needs no time

TRAINING_TEXT = """
The old house at the end of the lake was quiet in the winter. The wind came over the water at
night, and the lamp in the kitchen was the only light for miles. A small computer stood on the
shelf beside the radio, and nobody knew who had left it there. In the morning the children came
down to the kitchen and found that the small computer had written a letter. The letter was about
the lake, and the wind, and a boat that was lost in the winter. The children read the letter to
the old man, and the old man laughed. He said that the radio was broken, and the boat was only
a story. At night the lamp in the window was bright, and the boat came over the lake. Nobody was
in the boat. The old man took the letter and walked down to the water in the cold wind. The
children found him in the morning beside the boat, and he was happy. He said that the story was
true, and the small computer had known it all the time. In the summer the house was full of
light. The children wrote a letter to the computer, and the computer wrote a story about the
children. The story was wonderful, and the old man read it on the radio. Nobody was lost in the
summer. The wind was warm, the water was bright, and the boat stood beside the house. A letter
came from the city, and the letter was sad. The city was cold and loud, and nobody knew the
stories of the lake. The children took the radio and the small computer and walked to the city
in the summer night. The people of the city heard a story on the radio and were happy. The lamp
in every window was bright. The old man stood at the end of the lake and laughed in the wind.
"""

POSITIVE = """
I love this bright and friendly place
what a wonderful story, it made me happy
the children laughed and were happy all summer
a warm light in the window and good food on the table
the best evening of the year, thank you
everything works and it was easy to set up
fast, quiet and reliable, I like it very much
a beautiful house beside the lake
the old man was kind and told wonderful stories
great sound, and the picture is bright and clear
it was found again and we were glad
a true friend and a perfect day
the water was warm and the sun was bright
I laughed all night, what a lovely book
highly recommended, excellent and well made
we enjoyed every minute of it
the light was full of colour and joy
a good letter with good news
"""

NEGATIVE = """
I hate this cold and loud place
what a terrible story, it made me sad
the children cried and were afraid all winter
a broken lamp in the window and bad food on the table
the worst evening of the year, never again
nothing works and it was hard to set up
slow, loud and broken, I do not like it
an ugly house in a dark street
the old man was angry and told boring stories
awful sound, and the picture is dark and poor
it was lost again and nobody helped
a false friend and a horrible day
the water was cold and the wind was bitter
I was bored all night, what a dull book
not recommended, a waste of time and badly made
we regretted every minute of it
the house was quiet, empty and full of fear
a sad letter with bad news
"""


class BadInput(Exception):
    """The `data` of a request is invalid for the task; the text describes what is valid."""


class Writer:
    """Continues a text, word by word: a Markov chain trained on TRAINING_TEXT.

    Takes {"prompt": text, "length": words, "seed": number}, all optional. The same seed gives the
    same text. Answers {"text", "words", "seed"}. Takes requests of OpenAI's clients, too: the last
    of their "messages" is the prompt, "max_tokens" the length.
    """

    name = "markov-writer"
    task = "text_generation"

    def __init__(self) -> None:
        words = TRAINING_TEXT.split()
        self.openings = [words[0]]
        self.followers: dict[tuple[str, ...], list[str]] = {}
        for position in range(1, len(words)):
            word = words[position]
            for memory in (1, 2):
                before = tuple(words[max(0, position - memory) : position])
                self.followers.setdefault(before, []).append(word)
            if words[position - 1].endswith("."):
                self.openings.append(word)

    def run(self, data: dict[str, Any]) -> dict[str, Any]:
        prompt, length, seed = self._read(data)
        words = list(self._write(prompt, length, seed))
        return {"text": " ".join([*prompt, *words]), "words": len(words), "seed": seed}

    def stream(self, data: dict[str, Any]) -> Iterator[str]:
        prompt, length, seed = self._read(data)
        yield " ".join(prompt)
        for word in self._write(prompt, length, seed):
            time.sleep(SECONDS_PER_WORD)
            yield " " + word
        yield "\n"

    def _write(self, prompt: list[str], length: int, seed: int) -> Iterator[str]:
        chance = random.Random(seed)  # noqa: S311 - not for a secret
        last = tuple(prompt[-2:])
        for _ in range(length):
            word = chance.choice(self._candidates(last))
            last = (*last, word)[-2:]
            yield word

    def _candidates(self, last: tuple[str, ...]) -> list[str]:
        """The words that follow the last two in the training text, else those after the last."""
        return self.followers.get(last) or self.followers.get(last[-1:]) or self.openings

    def _read(self, data: dict[str, Any]) -> tuple[list[str], int, int]:
        prompt = data.get("prompt", last_message(data))
        length = data.get("length", data.get("max_tokens") or 30)
        seed = data.get("seed", random.SystemRandom().randrange(2**31))
        if not isinstance(prompt, str):
            raise BadInput("data.prompt must be text")
        if not is_whole(length) or not 1 <= length <= 1000:
            raise BadInput("data.length must be a whole number from 1 to 1000")
        if not is_whole(seed):
            raise BadInput("data.seed must be a whole number")
        return prompt.split(), length, seed


def last_message(data: dict[str, Any]) -> Any:
    """The text of the last message of a chat; "" for none."""
    messages = data.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    return last.get("content", "") if isinstance(last, dict) else ""


class Rater:
    """Rates a text as positive or negative: naive Bayes, trained on the examples above.

    Takes {"text": text}. Answers {"rating": "positive" or "negative", "confidence": 0.5 to 1}.
    """

    name = "bayes-rater"
    task = "text_classification"

    def __init__(self) -> None:
        self.counts = {
            "positive": Counter(self._words(POSITIVE)),
            "negative": Counter(self._words(NEGATIVE)),
        }
        self.vocabulary = set().union(*self.counts.values())

    def run(self, data: dict[str, Any]) -> dict[str, Any]:
        text = self._read(data)
        scores = {rating: self._score(text, rating) for rating in self.counts}
        rating = max(scores, key=lambda each: scores[each])
        distance = abs(scores["positive"] - scores["negative"])
        return {"rating": rating, "confidence": round(1 / (1 + math.exp(-distance)), 3)}

    def stream(self, data: dict[str, Any]) -> Iterator[str]:
        for sentence in re.split(r"(?<=[.!?])\s+", self._read(data)):
            rated = self.run({"text": sentence})
            yield f"{rated['rating']} {rated['confidence']:.2f}  {sentence}\n"

    def _score(self, text: str, rating: str) -> float:
        """The log likelihood of the words, with one added to each count (Laplace smoothing)."""
        counts = self.counts[rating]
        total = sum(counts.values()) + len(self.vocabulary)
        known = (word for word in self._words(text) if word in self.vocabulary)
        return sum(math.log((counts[word] + 1) / total) for word in known)

    def _words(self, text: str) -> list[str]:
        return re.findall(r"[a-z]+", text.lower())

    def _read(self, data: dict[str, Any]) -> str:
        text = data.get("text")
        if not isinstance(text, str):
            raise BadInput("data.text must be text")
        return text


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class ExampleServer(ThreadingHTTPServer):
    """An HTTP server with a thread for each connection, and one model."""

    request_queue_size = 128

    def __init__(self, address: tuple[str, int], model: Writer | Rater) -> None:
        super().__init__(address, Handler)
        self.model = model
        self.answering = 0
        self.changed = threading.Condition()

    def count(self, change: int) -> None:
        with self.changed:
            self.answering += change
            self.changed.notify_all()

    def finish(self) -> None:
        """Accept no more connections, and wait for the requests in flight."""
        self.socket.close()
        with self.changed:
            self.changed.wait_for(lambda: self.answering == 0, timeout=GRACE_SECONDS)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error of a connection, unless the client closed it."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: ExampleServer
    protocol_version = "HTTP/1.1"  # connections stay open between requests
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True  # small chunks leave at once
    wbufsize = -1  # head and body leave together

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/health":
            self.answer(HTTPStatus.OK, {"status": "healthy"})
        elif url.path == "/service-resources":
            self.answer(HTTPStatus.OK, self.resources(parse_qs(url.query).get("model_id")))
        else:
            self.fail(HTTPStatus.NOT_FOUND, "Try /health or /service-resources")

    def do_POST(self) -> None:
        self.server.count(+1)
        try:
            self.work()
            self.wfile.flush()  # before count(-1): `finish` waits only until then
        except BadInput as error:
            self.fail(HTTPStatus.BAD_REQUEST, str(error))
            self.wfile.flush()
        finally:
            self.server.count(-1)

    def work(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdigit() or int(length) > MAX_BODY:
            self.close_connection = True  # the body stays unread
            self.fail(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"At most {MAX_BODY} bytes")
            return
        body = self.rfile.read(int(length))
        if urlsplit(self.path).path != "/service_output":
            self.fail(HTTPStatus.NOT_FOUND, "Jobs go to /service_output")
            return
        job = self.parse(body)
        if job.get("destination") == STREAM:
            self.send_stream(self.server.model.stream(job["data"]))
        else:
            self.answer(HTTPStatus.OK, self.server.model.run(job["data"]))

    def parse(self, body: bytes) -> dict[str, Any]:
        try:
            job = json.loads(body)
        except (ValueError, RecursionError):
            raise BadInput("The body must be JSON") from None
        if not isinstance(job, dict) or not isinstance(job.get("data"), dict):
            raise BadInput('The body must be an object with an object "data"')
        return job

    def resources(self, model_ids: list[str] | None) -> dict[str, Any]:
        """The description of this service for GET /resources; the node adds the hardware."""
        model = self.server.model
        if model_ids:
            names = (model.name, f"infernet-edge/{model.name}", f"local/infernet-edge/{model.name}")
            return {"supported": model_ids[0] in names}
        described = {
            "owner": "infernet-edge",
            "name": model.name,
            "repository": "",
            "storage": "local",
            "files": [],
            "version": "1",
            "ml_type": model.task,
        }
        capability = {
            "id": "ml",
            "type": "python",
            "task": [model.task],
            "models": [described],
            "cached_models": [described],
        }
        return {"service_id": model.name, "compute_capability": [capability]}

    def answer(self, status: HTTPStatus, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fail(self, status: HTTPStatus, description: str) -> None:
        error = {"code": str(status.value), "name": status.phrase, "description": description}
        self.answer(status, error)

    def send_stream(self, pieces: Iterator[str]) -> None:
        """Send each piece at once, in the chunked coding of HTTP/1.1 (RFC 9112, 7.1)."""
        first = next(pieces)  # raises BadInput before the status is sent
        self.send_response(HTTPStatus.OK)
        self.send_header("content-type", "text/plain; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for each in itertools.chain([first], pieces):
            chunk = each.encode()
            if chunk:  # an empty one would end the stream
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log no requests: the node logs its jobs."""


def serve(task: str, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl+C. Port 0 selects a free one; the printed line contains it."""
    server = ExampleServer((host, port), Writer() if task == "write" else Rater())

    def stop(number: int, frame: Any) -> None:
        # An exception here could close a connection that has just been accepted. `shutdown` waits
        # for the loop that this signal has interrupted, so it needs a thread to avoid a deadlock.
        # A second signal ends the process immediately.
        signal.signal(number, signal.SIG_DFL)
        threading.Thread(target=server.shutdown).start()

    # In a container this is process 1, for which the kernel ignores signals without a handler.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    print(f"{task}: listening on http://{host}:{server.server_address[1]}", flush=True)
    server.serve_forever(poll_interval=0.2)  # seconds between two checks for `shutdown`
    server.finish()


def main() -> None:
    parser = argparse.ArgumentParser(description="An example of an Infernet service.")
    parser.add_argument("--task", choices=["write", "rate"], required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    arguments = parser.parse_args()
    serve(arguments.task, arguments.host, arguments.port)


if __name__ == "__main__":
    main()
