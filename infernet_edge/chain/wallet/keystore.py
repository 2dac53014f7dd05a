"""The key of the node's account: from the configuration or a keystore, and only in this process.

Keystores are those of the Web3 Secret Storage Definition, version 3
(ethereum.org/en/developers/docs/data-structures-and-encoding/web3-secret-storage).
"""

from __future__ import annotations

import ctypes
import errno
import json
import logging
import os
import re
import resource
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from infernet_edge.config.secret_files import Secret
from infernet_edge.config.sections.chain import Wallet
from infernet_edge.errors import StartupError
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

# Light scrypt: 4 MiB instead of the usual 256 MiB, which a board of 512 MiB does not have.
_SCRYPT_N = 2**12
_MAX_SCRYPT_BYTES = 2**30  # of memory; real keystores take less
_MAX_KEYSTORE_BYTES = 64 * 2**10  # bytes
_KEY = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")
_PR_SET_DUMPABLE = 4  # prctl(2)


class KeyProblem(StartupError):
    """A key that cannot be read or used; the text never contains any of it."""


def load_account(wallet: Wallet) -> LocalAccount:
    """The node's account; blocks for up to some seconds. Raises KeyProblem.

    From now on this process writes no core dump, which would contain the key.
    """
    forbid_core_dumps()
    if wallet.keystore:
        path = Path(wallet.keystore).expanduser()
        return read_keystore(path, wallet.keystore_password or Secret(""))
    if wallet.private_key is None:
        raise KeyProblem(
            "The node has no key: set chain.wallet.private_key or"
            " chain.wallet.keystore. To make a key: infernet-edge wallet new"
        )
    return parse_key(wallet.private_key)


def parse_key(text: Secret) -> LocalAccount:
    """The account of a key in hexadecimal digits, with or without 0x. Raises KeyProblem."""
    match = _KEY.fullmatch(text.reveal().strip())
    if match is None:
        raise KeyProblem("A private key is 64 hexadecimal digits, with or without 0x before them.")
    return _account(bytes.fromhex(match[1]))


def new_account() -> LocalAccount:
    """An account with a new random key."""
    made: LocalAccount = Account.create()
    return made


def _account(key: bytes) -> LocalAccount:
    try:
        made: LocalAccount = Account.from_key(key)
    except Exception:  # noqa: BLE001 - whatever it says may hold the key
        raise KeyProblem("The private key is not one of the curve secp256k1.") from None
    return made


def keystore_text(account: LocalAccount, password: Secret) -> str:
    """The account's key, encrypted, as the JSON text of a keystore."""
    keystore = account.encrypt(password.reveal(), kdf="scrypt", iterations=_SCRYPT_N)
    return json.dumps(keystore, indent=2) + "\n"


def read_keystore(path: Path, password: Secret) -> LocalAccount:
    """The account whose key a keystore holds; blocks for up to some seconds. Raises KeyProblem."""
    return decrypt_keystore(_read(path), password, str(path))


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_MAX_KEYSTORE_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise KeyProblem(f"The keystore {path} cannot be read ({reason}).") from None


def keystore_address(path: Path) -> str | None:
    """The address that a keystore names, without opening it; None when it names none.

    The field is optional. Raises KeyProblem.
    """
    address = _decode(_read(path), str(path)).get("address")
    match = re.fullmatch(r"(?:0x)?([0-9a-fA-F]{40})", str(address))
    return str(to_checksum_address(f"0x{match[1]}")) if match else None


def decrypt_keystore(text: str, password: Secret, name: str) -> LocalAccount:
    """The account of a keystore's text; `name` stands for it in errors. Raises KeyProblem."""
    keystore = _decode(text, name)
    try:
        key = bytes(Account.decrypt(keystore, password.reveal()))
    except MemoryError:
        needed = _scrypt_bytes(keystore) // 2**20
        raise KeyProblem(
            f"Decrypting {name} takes {needed} MiB of memory, which this machine does not have."
            " On another machine, write it with less: infernet-edge wallet import"
        ) from None
    except Exception:  # noqa: BLE001 - whatever it says may hold the key
        raise KeyProblem(f"The password does not open {name}, or that file is damaged.") from None
    return _account(key)


def _decode(text: str, name: str) -> dict[str, Any]:
    problem = KeyProblem(f"{name} is not a keystore (Web3 Secret Storage, version 3).")
    try:
        keystore = json.loads(text)
    except (ValueError, RecursionError):
        raise problem from None
    if not isinstance(keystore, dict) or keystore.get("version") != 3:
        raise problem
    if _scrypt_bytes(keystore) > _MAX_SCRYPT_BYTES:
        raise KeyProblem(f"{name} wants more memory for its scrypt than any real keystore does.")
    return keystore


def _scrypt_bytes(keystore: dict[str, Any]) -> int:
    """Memory that opening a keystore takes (RFC 7914: 128 * N * r); 0 with another function."""
    crypto = keystore.get("crypto") or keystore.get("Crypto")
    parameters = crypto.get("kdfparams") if isinstance(crypto, dict) else None
    if not isinstance(parameters, dict):
        return 0
    n, r = parameters.get("n"), parameters.get("r")
    return 128 * n * r if isinstance(n, int) and isinstance(r, int) else 0


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read and that did not exist; raises OSError."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise


def forbid_core_dumps() -> None:
    """Let this process never write its memory to disk, and no other process of its user read it.

    A core_pattern that is a pipe, such as systemd's, ignores RLIMIT_CORE (core(5)), hence prctl.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        log_event(
            logger,
            "key.protection_failed",
            logging.WARNING,
            reason=os.strerror(ctypes.get_errno()),
        )
