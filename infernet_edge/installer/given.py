"""What is copied for the service: a configuration, the secrets beside it, the node's tokens."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infernet_edge.config.errors import ConfigurationError
from infernet_edge.config.loading import load_valid_parts
from infernet_edge.config.model import DATABASE
from infernet_edge.config.recipes.files import FOLDER
from infernet_edge.config.secret_files import read_secret
from infernet_edge.config.sources import read_file
from infernet_edge.errors import InfernetEdgeError
from infernet_edge.installer.steps import Step, make_folder, write_file
from infernet_edge.storage.token_file import FILE_NAME, DamagedTokens, StoredTokens, TokenFile


def copies(given: Path, settings: Path, owner: str) -> list[Step]:
    """Steps that copy a configuration to the folder of settings.

    Secrets that `init --recipe` and `add-service` wrote beside it are copied too, and named by
    their new paths: the service's user cannot read the home folders of others. Raises OSError.
    """
    kind = ".toml" if given.suffix == ".toml" else ".json"  # as the node reads it
    text = given.read_text("utf-8")
    beside, target = given.absolute().parent / FOLDER, settings / FOLDER
    steps: list[Step] = []
    for file in sorted(beside.iterdir()) if beside.is_dir() else ():
        quoted = f'"{file}"'
        if quoted in text:
            text = text.replace(quoted, f'"{target / file.name}"')
            secret = read_secret(file)[0] + "\n"
            shown = f"(a copy of {file}, which is secret)"
            steps.append(write_file(target / file.name, secret, 0o600, owner, shown=shown))
    if steps:
        steps.insert(0, make_folder(target, 0o700, owner))
    shown = f"(a copy of {given}, which may hold secrets)"
    return [*steps, write_file(settings / f"config{kind}", text, 0o600, owner, shown=shown)]


def folders_before(given: Path | None, environment: Mapping[str, str]) -> list[Path]:
    """Where a node with this configuration (None: without any) kept its data before.

    `environment` is that of the user. Under sudo it is root's, so the folder of the person who
    wrote the configuration, or who called sudo, comes first. Raises no error for a configuration
    that is wrong: its valid parts are used.
    """
    plain = {name: text for name, text in environment.items() if name != "STATE_DIRECTORY"}
    document: dict[str, Any] | None = {} if given is None else None
    folders: list[Path] = []
    home = _home_of_user(given, environment)
    if home is not None:
        theirs = {**plain, "XDG_DATA_HOME": str(home / ".local/share")}
        folders.append(load_valid_parts(given, theirs, document)[0].config.storage_path)
        if (written := _written_path(given)).startswith("~/"):
            folders[0] = home / written.removeprefix("~/")
    folders.append(load_valid_parts(given, plain, document)[0].config.storage_path)
    return list(dict.fromkeys(folders))


def _home_of_user(given: Path | None, environment: Mapping[str, str]) -> Path | None:
    """The home folder of who wrote the configuration or called sudo; None for this user."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        user = given.stat().st_uid if given is not None else 0
        user = user or int(environment.get("SUDO_UID", "0"))
        if user != os.geteuid():
            return Path(pwd.getpwuid(user).pw_dir)
    return None


def _written_path(given: Path | None) -> str:
    """storage.path as it is written in a configuration; "" when it is not."""
    with contextlib.suppress(ConfigurationError):
        storage = read_file(given).get("storage") if given is not None else None
        path = storage.get("path") if isinstance(storage, dict) else None
        return path if isinstance(path, str) else ""
    return ""


def token_copy(
    given: Path | None, used: Path, owner: str, environment: Mapping[str, str]
) -> list[Step]:
    """Steps that copy the tokens of a node to the service's folder `used`, which has none yet.

    So the link that `init` printed stays valid, and a node that needs tokens is not open as a
    service. The file has only hashes. Raises InfernetEdgeError for tokens that cannot be read.
    """
    if _exists(used / FILE_NAME):
        return []
    others = _others(given, used, environment)
    found = next((each for each in others if _exists(each / FILE_NAME)), None)
    if found is None:
        return []
    try:
        stored = TokenFile(found).read()
    except DamagedTokens as error:
        raise InfernetEdgeError(
            f"{found / FILE_NAME} has the tokens of the node, and cannot be copied for the service,"
            f" which everyone in the network could use without: {error}. Restore it from a backup;"
            " or, if the service is to begin without tokens, move it away"
        ) from None
    if not stored.valid:
        return []
    # A date of the other node's own time means nothing for this one's.
    copied = StoredTokens(stored.tokens)
    names = ", ".join(token.name for token in stored.valid)
    return [
        make_folder(used, 0o700, owner),
        Step(
            f"Copy the tokens of {found} to {used} (valid: {names})",
            lambda: not _exists(used / FILE_NAME),
            lambda: TokenFile(used).write(copied),
        ),
    ]


def tokens_elsewhere(given: Path | None, used: Path, environment: Mapping[str, str]) -> str:
    """A note on tokens that a node had and the service does not have; "" when there are none."""
    with contextlib.suppress(DamagedTokens):  # doctor and status report the service's
        known = {token.hash for token in TokenFile(used).read().tokens}
        for each in _others(given, used, environment):
            missing = [token for token in TokenFile(each).read().valid if token.hash not in known]
            if missing:
                names = ", ".join(token.name for token in missing)
                return (
                    f"note: the service refuses the tokens of {each} ({names}): it has its own in"
                    f" {used}. Make one with: sudo infernet-edge token new NAME --scope operator"
                )
    return ""


def _others(given: Path | None, used: Path, environment: Mapping[str, str]) -> list[Path]:
    before = folders_before(given, environment)
    return [each for each in before if each.resolve() != used.resolve()]


def _exists(path: Path) -> bool:
    """Also False for what this user may not see: for a dry run, or in a home on the network."""
    try:
        return path.exists()
    except OSError:
        return False


def database_elsewhere(given: Path, used: Path, environment: Mapping[str, str]) -> str:
    """A note on the database that a node with the `given` configuration had; "" when it has none.

    `used` is the service's folder of data: a relative path of a copy means another folder.
    `environment` is that of the user.
    """
    for before in _others(given, used, environment):
        if _exists(before / DATABASE):
            return (
                f"note: the jobs of the node before stay in {before}; the service keeps its own in"
                f" {used}. To go on with them, stop both and move the files there, or set"
                " storage.path to that folder and install again"
            )
    return ""
