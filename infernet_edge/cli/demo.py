"""`infernet-edge demo`: a node with example services."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys

from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.interrupts import Interrupts, end_until_handled
from infernet_edge.cli.output import print_progress

HELP = "start a node with example services, run jobs on it, and let you try more"

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge demo",
        "infernet-edge demo --once --no-podman",
        "infernet-edge demo --host 0.0.0.0 --port 4001",
        "infernet-edge demo --model http://127.0.0.1:11434 --model-name gemma3:1b",
        "infernet-edge demo --model gemma-3-1b-it-Q4_K_M.gguf",
    )
    parser.description = (
        "Start a node with two small example services, as containers if Podman can run them and"
        " as processes otherwise; run a job, a chain and a stream on it; and keep running"
        " until Ctrl+C, so that you can try more. Its data goes to a temporary folder that is"
        " removed at the end."
        " With --model a real language model takes the place of the example services: one of a"
        " server that runs (llama.cpp, Ollama, vLLM, or any with OpenAI's API), or a GGUF file,"
        " which llama-server runs if it is in the PATH, or else llama.cpp's image in Podman."
        " The demo shows a job, a stream, the stored result and /resources. It downloads no"
        " models."
    )
    parser.add_argument("--once", action="store_true", help="exit when the jobs are done")
    parser.add_argument(
        "--port", type=int, metavar="N", help="port of the node (default: 4000 or the next free)"
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: 127.0.0.1, this machine only)",
    )
    parser.add_argument(
        "--image",
        metavar="NAME",
        help="image with python3 for the services (default: a small official Python image), or"
        " with --model FILE one with llama.cpp's server (default: that of the project, if it is"
        " here)",
    )
    parser.add_argument(
        "--model",
        metavar="WHAT",
        help="a real model: the URL of a model server, such as http://127.0.0.1:8080, or a GGUF"
        " file",
    )
    parser.add_argument(
        "--model-name",
        metavar="NAME",
        help="which model of a server that has several (default: the first that it lists)",
    )
    parser.add_argument(
        "--model-key", metavar="FILE", help="file with the key that the model server wants"
    )
    parser.add_argument("--podman-url", metavar="URL", help="Podman's API (default: detected)")
    parser.add_argument("--no-podman", action="store_true", help="run the services as processes")
    parser.add_argument("--keep", action="store_true", help="keep the node's data")
    # How an executable without a Python beside it starts the example service.
    parser.add_argument("--service", choices=["write", "rate"], help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; returns the exit code."""
    if arguments.service:
        from infernet_edge.demo.example_service import serve

        serve(arguments.service, "127.0.0.1", 0)
        return 0
    if arguments.port is not None and not 1 <= arguments.port <= 65535:
        print("--port must be a number from 1 to 65535.", file=sys.stderr)
        return 2
    from infernet_edge.config.rules import is_host

    if not is_host(arguments.host):
        print("--host must be an address or the name of a host.", file=sys.stderr)
        return 2
    if not arguments.model and (arguments.model_name or arguments.model_key):
        print("--model-name and --model-key belong to --model WHAT.", file=sys.stderr)
        return 2
    end_until_handled()
    import uvloop  # as `run` does

    from infernet_edge.executable import is_frozen
    from infernet_edge.unpacked import remove_abandoned

    if is_frozen():
        remove_abandoned()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(arguments))


async def _run(arguments: argparse.Namespace) -> int:
    from infernet_edge.config.model import Podman
    from infernet_edge.config.sections.log import Log
    from infernet_edge.demo.demo import Options, run_demo
    from infernet_edge.demo.model_choice import ModelChoice
    from infernet_edge.demo.services import DEFAULT_IMAGE
    from infernet_edge.errors import InfernetEdgeError
    from infernet_edge.logs import set_up_logging

    set_up_logging(Log())
    logging.getLogger("infernet_edge").setLevel(logging.ERROR)
    model = None
    if arguments.model:
        name, key = arguments.model_name or "", arguments.model_key or ""
        model = ModelChoice(arguments.model, name, key, arguments.image or "")
    options = Options(
        host=arguments.host,
        port=arguments.port,
        image=arguments.image or DEFAULT_IMAGE,
        podman=None if arguments.no_podman else Podman(url=arguments.podman_url),
        once=arguments.once,
        keep=arguments.keep,
        model=model,
    )
    demo = asyncio.create_task(run_demo(options))
    _stop_on_signals(demo)
    try:
        await demo
    except asyncio.CancelledError:
        print("Stopped before the end.", file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise  # the reader closed the pipe; main.py handles it
    except (InfernetEdgeError, OSError) as error:
        print(f"The demo failed. {error}", file=sys.stderr)
        return 1
    return 0


def _stop_on_signals(demo: asyncio.Task[None]) -> None:
    """Cancel the demo on Ctrl+C and similar signals; another Ctrl+C ends it at once."""

    def stop(number: int) -> None:
        again = " Ctrl+C again ends it at once." if number == signal.SIGINT else ""
        print_progress(f"\nStopping the node and its services, for a minute at most.{again}")
        demo.cancel()

    Interrupts(_SIGNALS, stop, _kill_children)


def _kill_children() -> None:
    import psutil

    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            child.kill()
