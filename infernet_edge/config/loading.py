"""Load one Config from a file, the environment and systemd credentials."""

from __future__ import annotations

import copy
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from infernet_edge.config import rules, sources
from infernet_edge.config.decoding import Conversion
from infernet_edge.config.errors import ConfigurationError, PermissionWarning, Problem
from infernet_edge.config.keys.old_names import move_old_names
from infernet_edge.config.model import Config
from infernet_edge.config.values.relative_paths import NO_FOLDERS, Folders


class Loaded(NamedTuple):
    """A configuration, its warnings, and the file it was read from (None: the defaults)."""

    config: Config
    warnings: list[str]
    source: Path | None


def load(path: Path | None = None, environment: Mapping[str, str] = os.environ) -> Loaded:
    """Read the configuration (see `sources.find_file` for where).

    Raises ConfigurationError with all errors at once.
    """
    file = sources.find_file(path, environment)
    document = sources.read_file(file) if file is not None else {}
    folders = Folders.of(file, environment)
    config, warnings = build(document, str(file or "the configuration"), environment, folders)
    if file is not None:
        warnings += _readable_by_others(file, config)
    return Loaded(config, warnings, file)


def build(
    document: dict[str, Any],
    source: str,
    environment: Mapping[str, str],
    folders: Folders = NO_FOLDERS,
) -> tuple[Config, list[str]]:
    """Convert a decoded document to a Config; raises ConfigurationError with all errors.

    Its relative paths are resolved from `folders`.
    """
    config, notes, warnings, problems = _convert(document, environment, folders)
    if problems:
        raise ConfigurationError(source, problems, notes)
    return config, [*notes, *warnings]


def load_valid_parts(
    path: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    given: dict[str, Any] | None = None,
) -> tuple[Loaded, list[Problem]]:
    """Load the valid parts of a configuration, with defaults for the invalid ones, and the errors.
    Only for the doctor, which checks everything that does not depend on the invalid parts, and for
    the document `given` that will be in the file `path`.
    """
    file = sources.find_file(path, environment)
    unreadable: list[Problem] = []
    document = given or {}
    if file is not None and given is None:
        try:
            document = sources.read_file(file)
        except ConfigurationError as error:
            unreadable += error.problems
    folders = Folders.of(file, environment)
    try:
        config, notes, warnings, problems = _convert(document, environment, folders)
    except ConfigurationError as error:  # a credential cannot be read
        unreadable += error.problems
        others = {k: v for k, v in environment.items() if k != "CREDENTIALS_DIRECTORY"}
        config, notes, warnings, problems = _convert(document, others, folders)
    warnings = [*notes, *warnings]
    if file is not None:
        warnings += _readable_by_others(file, config)
    return Loaded(config, warnings, file), [*unreadable, *problems]


def _convert(
    document: dict[str, Any], environment: Mapping[str, str], folders: Folders
) -> tuple[Config, list[str], list[str], list[Problem]]:
    """A Config, notes on the document, further warnings, and errors.

    Raises ConfigurationError only for unreadable credentials.
    """
    document = copy.deepcopy(document)
    notes = [*move_old_names(document)]
    sources.apply_environment(document, environment)
    notes += move_old_names(document)  # of the environment
    sources.apply_credentials(document, environment)
    conversion = Conversion(folders)
    config: Config = conversion.struct(document, Config, "")
    problems = conversion.problems
    reported = tuple(problem.path for problem in problems)
    problems += [
        problem
        for problem in rules.check(config, environment)
        if not problem.path.startswith(reported)
    ]
    config, warnings = rules.resolve(config, environment)
    return config, [*notes, *conversion.warnings], warnings, problems


def _readable_by_others(file: Path, config: Config) -> list[str]:
    wallet = config.chain.wallet
    if not (wallet.private_key or wallet.keystore_password) or not file.exists():
        return []
    if file.stat().st_mode & 0o077 == 0:
        return []
    advice = f"chmod 600 {shlex.quote(str(file))}"
    text = f"{file} may hold a private key and others can read it: {advice}"
    return [PermissionWarning(text)]
