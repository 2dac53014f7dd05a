"""`infernet-edge backup`: write a backup into one file, while the node runs or not."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from infernet_edge.cli.configuration import add_config_argument, load_or_explain
from infernet_edge.cli.examples import add_examples

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from http.client import HTTPResponse

    from infernet_edge.backup.archive import Manifest, Tables
    from infernet_edge.backup.contents import Contents
    from infernet_edge.config import Config, Loaded

HELP = "write the jobs and the configuration of the node into one file"

_TEXT = """\
The backup is a tar archive: the database with every job that was accepted
before, the tokens that the node made (as hashes), and the configuration
without its secrets. It is made while the node runs, or while it does not. More:
infernet-edge help backup
"""

_STDOUT = "-"
_WAIT = 120.0  # seconds for a sign of life of the node
_LINE = 64 * 2**10  # bytes
_AT_ONCE = 256 * 2**10  # bytes
_SHOWN_EACH = 5.0  # seconds
_OTHERS = 2**20  # bytes of the archive besides its files, at most


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "sudo infernet-edge backup /mnt/usb/edge.tar",
        "infernet-edge backup - --config config.toml > edge.tar",
        text=_TEXT,
    )
    parser.add_argument("file", metavar="FILE", help="the file to write; - is the standard output")
    parser.add_argument(
        "--with-secrets",
        action="store_true",
        help="include keys, passwords, tokens and all files that the configuration names",
    )
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the backup; returns 0, 1 when nothing was written, 78 for a bad configuration."""
    loaded = load_or_explain(arguments)
    if loaded is None:
        return 78
    from infernet_edge.backup.output import explain
    from infernet_edge.config.errors import ConfigurationError
    from infernet_edge.errors import InfernetEdgeError

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # removes what is not complete
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        _back_up(loaded, arguments)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 78
    except InfernetEdgeError as error:
        print(f"No backup was written: {str(error).rstrip('.')}.", file=sys.stderr)
        return 1
    except BrokenPipeError:
        if arguments.file != _STDOUT:
            raise  # the backup was written; main.py handles it
        print("No backup was written: its reader ended.", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"No backup was written: {explain(Path(arguments.file), error)}.", file=sys.stderr)
        return 1
    return 0


def _back_up(loaded: Loaded, arguments: argparse.Namespace) -> None:
    from infernet_edge.backup.contents import CannotBackUp, gather
    from infernet_edge.backup.output import check_name, new_file

    contents = gather(loaded.config, loaded.source, os.environ, with_secrets=arguments.with_secrets)
    if arguments.file == _STDOUT:
        if sys.stdout.isatty():
            raise CannotBackUp("A backup is no text for a terminal; name a file, or use a pipe")
        _write(loaded.config, contents, sys.stdout.buffer, None)
        sys.stdout.buffer.flush()
        return
    path = Path(os.path.realpath(arguments.file))
    _check_not_own(path, loaded.config, contents)
    check_name(path, replace=arguments.force)
    with new_file(path, replace=arguments.force) as file:
        manifest = _write(loaded.config, contents, file, path.parent)
    size = path.stat().st_size
    if arguments.json:
        report = {
            "file": str(path),
            "size": size,
            "with_secrets": manifest.with_secrets,
            "left_out": manifest.left_out,
        }
        print(json.dumps(report, indent=2))
        return
    restore = shlex.join(["infernet-edge", "restore", str(path)])
    print(f"Wrote {path}, {size / 1e6:.1f} MB. Restore it with: {restore}")
    _print_secrets(manifest)


def _check_not_own(path: Path, config: Config, contents: Contents) -> None:
    """Refuse to replace what the node needs, also with --force."""
    from infernet_edge.backup.contents import CannotBackUp

    own = {os.path.realpath(each) for each in contents.places}
    is_stored = path.parent == Path(os.path.realpath(config.storage_path)) and (
        path.name == "lock" or path.name.startswith(config.database_path.name)
    )
    if str(path) in own or is_stored:
        raise CannotBackUp(f"{path} is a file of the node, so it is not replaced; name another one")


def _print_secrets(manifest: Manifest) -> None:
    from infernet_edge.cli.text import wrapped

    if manifest.with_secrets:
        text = "It contains keys and passwords: store it where only you can read it."
        print(text)
    elif manifest.left_out:
        names = ", ".join(manifest.left_out)
        print("\n".join(wrapped("Left out: ", f"{names}. To include them: --with-secrets")))


def _write(config: Config, contents: Contents, file: BinaryIO, folder: Path | None) -> Manifest:
    """Write the archive, with the database of the running node, or of the one that does not run."""
    from infernet_edge.backup.database import content_of, offline_database
    from infernet_edge.control.client import NotAllowed, NotRunning, opened

    tables: Mapping[str, Tables]
    content: Iterable[bytes]
    with contextlib.ExitStack() as stack:
        try:
            response = stack.enter_context(opened(config, "database", _WAIT))
        except NotAllowed:
            raise
        except NotRunning:
            path = config.database_path
            tables = stack.enter_context(offline_database(path))
            size = path.stat().st_size
            content = content_of(path)
        else:
            size, tables = _when_copied(config, response)
            content = _received(config, response)
        return _archive(contents, tables, size, content, file, folder)


def _when_copied(config: Config, response: HTTPResponse) -> tuple[int, Mapping[str, Tables]]:
    """Wait until the node has copied its database; the size of the copy, and its tables."""
    import msgspec

    from infernet_edge.backup.archive import Tables
    from infernet_edge.backup.contents import CannotBackUp
    from infernet_edge.control.client import explained

    if response.status != 200:
        raise CannotBackUp("The running node is of a version without backups: restart it")
    shown = 0.0
    while True:
        with explained(config):
            line = msgspec.json.decode(response.readline(_LINE))
        if "error" in line:
            raise CannotBackUp(line["error"])
        if "size" in line:
            return int(line["size"]), msgspec.convert(line["tables"], dict[str, Tables])
        if sys.stderr.isatty() and time.monotonic() >= shown + _SHOWN_EACH:
            shown = time.monotonic()
            text = f"Copying: {line['copied'] / 1e6:.0f} of {line['total'] / 1e6:.0f} MB"
            print(text, file=sys.stderr)


def _received(config: Config, response: HTTPResponse) -> Iterator[bytes]:
    from infernet_edge.control.client import explained

    while True:
        with explained(config):
            part = response.read(_AT_ONCE)
        if not part:
            return
        yield part


def _archive(
    contents: Contents,
    tables: Mapping[str, Tables],
    size: int,
    database: Iterable[bytes],
    file: BinaryIO,
    folder: Path | None,
) -> Manifest:
    from infernet_edge.backup.archive import ArchiveWriter
    from infernet_edge.config.model import DATABASE
    from infernet_edge.storage.copying import check_room

    if folder is not None:
        check_room(folder, size + sum(map(len, contents.files.values())) + _OTHERS)
    writer = ArchiveWriter(file)
    for name, content in contents.files.items():
        writer.add(name, len(content), [content])
    writer.add(DATABASE, size, database)
    manifest = contents.with_tables(tables)
    writer.finish(manifest)
    return manifest
