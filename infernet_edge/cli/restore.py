"""`infernet-edge restore`: put a backup in the place of the node's data."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from infernet_edge.cli.configuration import (
    add_config_argument,
    load_or_explain,
    use_service_environment,
)
from infernet_edge.cli.examples import add_examples

if TYPE_CHECKING:
    from infernet_edge.backup.restoring import Checked
    from infernet_edge.storage.lock import FolderLock

HELP = "put a backup in the place of the node's jobs"

_TEXT = """\
The whole backup is checked before anything changes. The previous files are
kept, in a folder that is named. The node must not run. Without a configuration
on this machine, --config names the file to write it to. More:
infernet-edge help backup
"""


class _Place(NamedTuple):
    """Where a backup goes: the storage folder, the configuration, and whether that is new."""

    storage: Path
    configuration: Path | None
    new: bytes | None


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge restore edge.tar --dry-run",
        "sudo infernet-edge restore /mnt/usb/edge.tar",
        "sudo infernet-edge restore edge.tar --config /etc/infernet-edge/config.toml",
        text=_TEXT,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the backup")
    parser.add_argument(
        "--dry-run", action="store_true", help="check the backup, and change nothing"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Restore; returns 0, 1 when nothing was changed, 78 for a bad configuration."""
    from infernet_edge.backup.archive import UnusableArchive
    from infernet_edge.errors import InfernetEdgeError

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        place = _place(arguments)
        if place is None:
            return 78
        _restore(arguments, place)
    except UnusableArchive as error:
        print(f"{arguments.file} cannot be restored. {error}.", file=sys.stderr)
        return 1
    except InfernetEdgeError as error:
        print(f"Nothing was changed. {str(error).rstrip('.')}.", file=sys.stderr)
        return 1
    except OSError as error:
        named = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"Nothing was restored. {named}.", file=sys.stderr)
        return 1
    return 0


def _place(arguments: argparse.Namespace) -> _Place | None:
    """Where to restore to; None when the configuration has errors, which are printed."""
    from infernet_edge.backup.redaction import same_kind
    from infernet_edge.backup.restoring import CannotRestore, configuration_in, decoded
    from infernet_edge.config.loading import load_valid_parts
    from infernet_edge.config.sources import find_file

    use_service_environment(arguments)
    file = find_file(arguments.config, os.environ)
    if file is not None and os.path.lexists(file):
        return _place_of(file)
    with arguments.file.open("rb") as archive:
        found = configuration_in(archive)
    if found is None:
        loaded = load_or_explain(arguments)
        return None if loaded is None else _Place(loaded.config.storage_path, None, None)
    name, text = found
    if file is None:
        suffix = Path(name).suffix
        raise CannotRestore(
            "There is no configuration here. Name the file to write the one of the backup to, such"
            f" as --config /etc/infernet-edge/config{suffix} or --config ./config{suffix}"
        )
    if not same_kind(name, file):
        raise CannotRestore(
            f"The configuration in the backup is {name}: give --config a name that ends with"
            f" {Path(name).suffix}"
        )
    loaded, _ = load_valid_parts(file, os.environ, decoded(text, name))
    return _Place(loaded.config.storage_path, file, text)


def _place_of(file: Path) -> _Place | None:
    """The place of a configuration that is here; what it lacks may be entered after the restore."""
    from infernet_edge.config.errors import ConfigurationError
    from infernet_edge.config.loading import load_valid_parts

    loaded, problems = load_valid_parts(file)
    needed = [each for each in problems if not each.path or each.path.startswith("storage")]
    if needed:
        print(ConfigurationError(str(file), needed), file=sys.stderr)
        return None
    return _Place(loaded.config.storage_path, file, None)


def _restore(arguments: argparse.Namespace, place: _Place) -> None:
    from infernet_edge.backup.database import owned_like_folder
    from infernet_edge.backup.restoring import extract, hand_over, new_files, secret_files
    from infernet_edge.node import all_migrations
    from infernet_edge.storage import replacing
    from infernet_edge.storage.lock import FolderLock

    known = {owner: len(steps) for owner, steps in all_migrations(chain=True).items()}
    storage = place.storage
    file: Path = arguments.file
    if arguments.dry_run:
        checked = _check_only(file, storage, known)
        show = _print_json if arguments.json else _print_checked
        show(checked, place)
        return
    is_new = not storage.exists()
    lock = FolderLock(storage)
    done = False
    try:
        if is_new:
            storage.mkdir(mode=0o700, parents=True)
        with owned_like_folder(storage, "lock"):
            _acquire(lock)
        replacing.finish(storage)
        prepared = replacing.prepare(storage)
        with file.open("rb") as archive:
            checked = extract(archive, prepared, known)
        hand_over(prepared, storage)
        beside = place.configuration.parent if place.configuration else None
        secrets = list(secret_files(checked, beside)) if beside else []
        made = {path: content for path, content, is_written in secrets if is_written}
        if place.new is not None and place.configuration is not None:
            made[place.configuration] = place.new
        with new_files(made, storage):
            kept = replacing.replace(storage)
        done = True
    finally:
        if not done and lock.held:
            replacing.discard(storage)
        lock.release()
        if is_new and not done and storage.exists():
            (storage / "lock").unlink(missing_ok=True)
            storage.rmdir()
    if arguments.json:
        _print_json(checked, place, kept=kept)
        return
    _print_checked(checked, place)
    _print_restored(checked, place, kept)
    for path, _, is_written in secrets:
        if is_written:
            print(f"Wrote the secret {path}")
        else:
            print(f"The secret {path} is not written: it exists, or is outside of {beside}")


def _check_only(file: Path, storage: Path, known: dict[str, int]) -> Checked:
    """Check the backup in a temporary folder on the disk of the storage."""
    from infernet_edge.backup.restoring import extract
    from infernet_edge.folders import PREFIX, TemporaryFolder

    existing = next(each for each in (storage, *storage.absolute().parents) if each.is_dir())
    with (
        TemporaryFolder(f".{PREFIX}check-", str(existing)) as folder,
        file.open("rb") as archive,
    ):
        return extract(archive, folder, known)


def _acquire(lock: FolderLock) -> None:
    from infernet_edge.backup.restoring import CannotRestore
    from infernet_edge.errors import StartupError

    try:
        lock.acquire()
    except StartupError as error:
        raise CannotRestore(
            f"{error} Stop the node first, as with: sudo systemctl stop infernet-edge"
        ) from error


def _print_json(checked: Checked, place: _Place, kept: Path | None = None) -> None:
    manifest = checked.manifest
    report = {
        "created": manifest.created,
        "version": manifest.version,
        "host": manifest.host,
        "storage": str(place.storage),
        "configuration": str(place.configuration) if place.configuration else None,
        "kept": str(kept) if kept else None,
        "left_out": manifest.left_out,
    }
    print(json.dumps(report, indent=2))


def _print_checked(checked: Checked, place: _Place) -> None:
    manifest = checked.manifest
    print(
        f"The backup is whole: of {manifest.created}, made by infernet-edge {manifest.version} on"
        f" {manifest.host}"
    )
    present = place.configuration
    if checked.configuration is not None and place.new is None:
        print(f"  configuration: {present} is used; the one in the backup is not")
    print(f"  storage: {place.storage}")


def _print_restored(checked: Checked, place: _Place, kept: Path | None) -> None:
    from infernet_edge.cli.text import wrapped

    previous = f" The previous files are in {kept}: delete it when you do not need it."
    print(f"Restored.{previous if kept else ''}")
    if place.new is not None:
        print(f"Wrote {place.configuration}, as it is in the backup.")
    left_out = checked.manifest.left_out
    if left_out and place.new is not None:
        text = f"{', '.join(left_out)}. Until then the node does not start"
        print("\n".join(wrapped("Enter these again, they are not in the backup: ", text, 2)))
    named = ["--config", str(place.configuration)] if place.configuration else []
    print(f"Before you start the node: {shlex.join(['infernet-edge', 'check', *named])}")
    print("Jobs that were running at the backup run again.")
