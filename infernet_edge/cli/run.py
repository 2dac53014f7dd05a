"""`infernet-edge run`: run the node until Ctrl+C or a signal."""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import gc
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from infernet_edge.cli.configuration import add_config_argument, empty_note, load_or_explain
from infernet_edge.cli.interrupts import Interrupts, end_until_handled
from infernet_edge.cli.output import discard_output
from infernet_edge.tasks import cancel

if TYPE_CHECKING:
    from infernet_edge.config import Loaded
    from infernet_edge.node import Node
    from infernet_edge.notify import Notifier

logger = logging.getLogger(__name__)

_MIN_RUN = 60.0  # seconds between two damages of the database
# Allocated containers, as gc counts them, until the next search for unreachable ones. A few jobs
# reach the default of 700, and leave none.
_YOUNG_OBJECTS = 10_000

# Not as other commands do it, so that a node holds no module for that.
_EXAMPLES = """\
Examples:

  infernet-edge run
  infernet-edge run --config config.toml --verbose
  INFERNET_EDGE_SERVER__PORT=4001 infernet-edge run
"""

HELP = "run the node until Ctrl+C or SIGTERM"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXAMPLES
    add_config_argument(parser)
    parser.add_argument("--verbose", action="store_true", help="also log details")


def run(arguments: argparse.Namespace) -> int:
    """Run the node; returns 0 after a graceful shutdown."""
    end_until_handled()
    loaded = load_or_explain(arguments)
    if loaded is None:
        return 78

    import uvloop

    from infernet_edge.config import load
    from infernet_edge.config.errors import Information
    from infernet_edge.errors import StartupError
    from infernet_edge.executable import is_frozen
    from infernet_edge.hardware.memory import keep_little_freed_memory
    from infernet_edge.logs import log_event, set_up_logging
    from infernet_edge.unpacked import remove_abandoned

    try:
        set_up_logging(loaded.config.log, verbose=arguments.verbose)
        source = loaded.source or "none found, using defaults"
        log_event(logger, "config.loaded", source=source)
        if note := empty_note(loaded):
            log_event(logger, "config.missing", logging.WARNING, text=note)
        for warning in loaded.warnings:
            if isinstance(warning, Information):
                log_event(logger, "config.note", text=warning)
            else:
                log_event(logger, "config.warning", logging.WARNING, text=warning)
        if is_frozen():
            for path in remove_abandoned():
                log_event(logger, "executable.leftover_removed", path=path)
        keep_little_freed_memory()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(loaded, lambda: load(arguments.config), arguments.config))
    except StartupError as error:
        print(f"infernet-edge: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(loaded: Loaded, load: Callable[[], Loaded], named: Path | None) -> None:
    """Run nodes until a signal; `load` reads the configuration again, `named` is --config."""
    from infernet_edge.errors import StartupError
    from infernet_edge.logs import log_event
    from infernet_edge.node import Node
    from infernet_edge.notify import Notifier

    stop, reload = asyncio.Event(), asyncio.Event()
    node: Node | None = None
    announce: Callable[[Node], Awaitable[None]] | None = partial(_print_link, file=named)

    def begin_stop(number: int) -> None:
        stop.set()
        text = "Ctrl+C again ends it at once" if number == signal.SIGINT else ""
        log_event(logger, "node.stopping", **(node.stop_waits() if node else {}), text=text)

    def log_abort() -> None:
        text = "Containers may still run: the next start of the node adopts or removes them"
        log_event(logger, "node.aborted", logging.WARNING, text=text)

    notifier = Notifier.of()
    numbers = {signal.SIGTERM, signal.SIGINT}
    if notifier.is_service:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload.set)
    elif signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as with nohup
        numbers.add(signal.SIGHUP)  # the terminal was closed
    Interrupts(numbers, begin_stop, log_abort)
    # Write the stack to the log when systemd's watchdog sends SIGABRT, and on SIGBUS, which the
    # system sends when a file shrinks that SQLite has mapped.
    faulthandler.enable()
    try:
        damaged_at = -_MIN_RUN
        config = loaded.config
        while not stop.is_set():
            node = Node(config, notifier.saved, loaded.source, load)
            await _run_node(node, notifier, stop, reload, announce)
            announce = None
            config = node.config
            before, damaged_at = damaged_at, time.monotonic()
            if not stop.is_set() and damaged_at - before < _MIN_RUN:
                raise StartupError(
                    f"The database {config.database_path} is damaged repeatedly. Check"
                    " its disk (dmesg), or set storage.path to a folder on another."
                )
    finally:
        await notifier.close()


async def _print_link(node: Node, file: Path | None) -> None:
    """Print how a browser opens the node, and who may use it; `file` is the one of --config."""
    from infernet_edge.cli.links import access_lines, config_option, open_lines

    urls = await node.network_urls()
    is_open = node.parts is not None and node.parts.tokens.is_open
    lines = [
        *open_lines(urls, node.url),
        *access_lines(urls, is_open=is_open, option=config_option(file)),
    ]
    try:
        print("\n".join(lines), flush=True)
    except OSError:  # a closed pipe, a full disk; the node runs without
        discard_output()


async def _run_node(
    node: Node,
    notifier: Notifier,
    stop: asyncio.Event,
    reload: asyncio.Event,
    announce: Callable[[Node], Awaitable[None]] | None,
) -> None:
    """Run a node until `stop` is set, or until its damaged database must be replaced."""
    from infernet_edge.hardware.memory import return_freed_memory

    await node.start()
    gc.freeze()  # permanent objects: the collector does not need to visit them again
    gc.set_threshold(_YOUNG_OBJECTS)
    try:
        if announce is not None and not notifier.is_service:
            await announce(node)
        notifier.ready(f"Serving at {node.url}")
        await asyncio.to_thread(return_freed_memory)  # 1 MB, of the start
        ready = asyncio.create_task(node.wait_until_ready(node.config.startup_wait))
        reloading = asyncio.create_task(_reload(node, notifier, reload))
        ends = [asyncio.create_task(event.wait()) for event in (stop, node.damaged)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            notifier.stopping()
        await cancel(ready, reloading, *ends)
    finally:
        await node.stop()
        gc.unfreeze()


async def _reload(node: Node, notifier: Notifier, requested: asyncio.Event) -> None:
    """Reload on SIGHUP; what that did, or why it failed, is in the log."""
    from infernet_edge.logs import log_exception

    while True:
        await requested.wait()
        requested.clear()
        notifier.reloading()
        try:
            await node.reloader.reload()
        except Exception as error:  # noqa: BLE001 - a defect must not end later reloads
            log_exception(logger, "node.reload_crashed", error)
        notifier.ready(f"Serving at {node.url}")
