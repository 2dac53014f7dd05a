"""`infernet-edge wallet new` and `import`: write a key to a file.

Keys and passwords come from files, stdin or the terminal, never from arguments, which every user of
the machine can read in the process list.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount

from infernet_edge.chain.wallet.keystore import (
    KeyProblem,
    decrypt_keystore,
    forbid_core_dumps,
    keystore_text,
    new_account,
    parse_key,
    write_secret,
)
from infernet_edge.config import ConfigurationError
from infernet_edge.config.loading import build
from infernet_edge.config.model import Config
from infernet_edge.config.rendering import to_json, toml_value
from infernet_edge.config.secret_files import Secret
from infernet_edge.config.sources import PREFIX, find_file, read_file

_MAX_TEXT = 64 * 2**10  # characters of a key, a keystore or a password
_MIN_PASSWORD = 8


def write_key(arguments: argparse.Namespace, answer: dict[str, Any]) -> int:
    """Make or import a key and write it; returns 0, or 78 for an invalid configuration.

    `answer` gets the file and the address, never the key or the password.

    Raises KeyProblem.
    """
    forbid_core_dumps()
    try:
        source, config = _configuration(arguments)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 78
    name = "private-key" if arguments.plain else "keystore.json"
    output: Path = arguments.output or config.storage_path / name
    # Before the questions. Other errors of the path are found when it is written.
    if os.path.lexists(output):
        raise _exists(output)
    account = _import(arguments) if arguments.action == "import" else new_account()
    if arguments.plain:
        text = f"0x{account.key.hex()}\n"
    else:
        text = keystore_text(account, _new_password(arguments.password_file))
    try:
        write_secret(output, text)
    except FileExistsError:
        raise _exists(output) from None
    except OSError as error:
        raise KeyProblem(
            f"{output} cannot be written ({error.strerror}). Use --output to choose another path."
        ) from None
    chosen = _settings(arguments, output)
    answer |= {
        "address": account.address,
        "file": str(output.absolute()),
        "encrypted": not arguments.plain,
        "configuration": {"chain": {"wallet": chosen}},
    }
    if not arguments.json:
        _print_result(chosen, source, output, account.address)
    return 0


def _configuration(arguments: argparse.Namespace) -> tuple[Path | None, Config]:
    """The configuration without chain settings: the key does not exist yet."""
    file = find_file(arguments.config, os.environ)
    document = read_file(file) if file is not None else {}
    document.pop("chain", None)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(f"{PREFIX}CHAIN__")
    }
    config, _ = build(document, str(file or "the configuration"), environment)
    return file, config


def _exists(output: Path) -> KeyProblem:
    return KeyProblem(
        f"{output} exists, and may hold the only copy of a key. Use --output to write another file,"
        " or move that one away."
    )


def _import(arguments: argparse.Namespace) -> LocalAccount:
    if arguments.file is not None:
        text, name = _read(arguments.file), str(arguments.file)
    elif sys.stdin.isatty():
        text, name = _ask("Private key (64 hex digits, not shown): "), "the typed text"
    else:
        text, name = sys.stdin.read(_MAX_TEXT), "the text from stdin"
    if not text.lstrip().startswith("{"):
        return parse_key(Secret(text))
    if arguments.old_password_file is not None:
        password = _read(arguments.old_password_file).strip()
    else:
        password = _ask("Password of the keystore to import: ")
    return decrypt_keystore(text, Secret(password), name)


def _new_password(file: Path | None) -> Secret:
    if file is not None:
        password = _read(file).strip()
        if len(password) < _MIN_PASSWORD:
            raise KeyProblem(f"The password in {file} is shorter than {_MIN_PASSWORD} characters.")
        return Secret(password)
    while True:
        password = _ask("New password for the key: ")
        if len(password) < _MIN_PASSWORD:
            print(f"  Please enter at least {_MIN_PASSWORD} characters.", file=sys.stderr)
        elif _ask("Repeat it: ") != password:
            print("  The passwords differ.", file=sys.stderr)
        else:
            return Secret(password)


def _ask(question: str) -> str:
    """Ask on the terminal, even when stdin is not a terminal; the answer is not shown."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise KeyProblem(
            "There is no terminal to ask for a password. Name a file that contains it with"
            " --password-file (and --old-password-file for a keystore to import), or choose --plain"
            " to write the key without encryption."
        ) from None
    return getpass.getpass(question)


def _read(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(_MAX_TEXT)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise KeyProblem(f"{file} cannot be read ({reason}).") from None


def _settings(arguments: argparse.Namespace, output: Path) -> dict[str, object]:
    """What the section chain.wallet needs, for the node to use this key."""
    path = str(output.absolute())
    if arguments.plain:
        return {"private_key": {"file": path}}
    password_file = arguments.password_file or "/path/of/a/file/with/the/password"
    password = str(Path(password_file).absolute())
    return {"keystore": path, "keystore_password": {"file": password}}


def _print_result(
    chosen: dict[str, object], source: Path | None, output: Path, address: str
) -> None:
    print(f"Wrote {output}, which only you can read.")
    print(f"Address  {address}")
    print("Keep a copy of the file elsewhere: without it the account and its coins are lost.")
    print("For the node to use it, put into the configuration:\n")
    if source is not None and source.suffix == ".json":
        print(to_json({"chain": {"wallet": chosen}}))
    else:
        print("[chain.wallet]")
        for key, value in chosen.items():
            print(f"{key} = {toml_value(value)}")
