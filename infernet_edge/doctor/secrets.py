"""Can only the node's user read keys, passwords, tokens and jobs?"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from infernet_edge.config import paths
from infernet_edge.config.model import Config
from infernet_edge.config.secret_files import Secret
from infernet_edge.config.values.tokens import secret_of
from infernet_edge.doctor.commands import as_owner, as_root
from infernet_edge.doctor.context import Case
from infernet_edge.doctor.finding import Finding, not_checked, ok, problem
from infernet_edge.doctor.user import CannotCheck, User, owner_of

NAME = "secrets"
NEEDS = ("server.tokens",)


async def check(case: Case) -> list[Finding]:
    """Check the permissions of the files that contain them."""
    if case.user is None:
        return [not_checked("the service's account does not exist")]
    return await case.blocking(_check_blocking, case, case.user)


def _check_blocking(case: Case, user: User) -> list[Finding]:
    found = [_for_others(path, user) for path in _secret_files(case)]
    try:
        found += [_for_the_node(path, user) for path in _read_by_the_node(case)]
    except CannotCheck as error:
        found.append(not_checked(str(error), "run the doctor with sudo"))
    wrong = [each for each in found if each is not None]
    return wrong or [ok(f"only {user.name} can read the configuration's secrets and the jobs")]


def _for_others(path: Path, user: User) -> Finding | None:
    try:
        about = path.stat()
    except FileNotFoundError:  # storage.path before the first start
        return None
    except OSError as error:
        return not_checked(f"{path} cannot be seen ({error.strerror})", "run the doctor with sudo")
    mode = stat.S_IMODE(about.st_mode)
    # A file of another owner may be shared with a group on purpose, as TLS keys with ssl-cert.
    foreign = about.st_uid != user.uid
    if not mode & (0o007 if foreign else 0o077):
        return None
    text = f"others can read {path} (mode {mode:o})"
    if foreign and not path.is_dir():
        give = as_root("chown", f"{user.name}:", path)
        return problem(text, command=f"{give} && {as_root('chmod', 'go=', path)}")
    return problem(text, command=as_owner(owner_of(path), "chmod", "go=", path))


def _for_the_node(path: Path, user: User) -> Finding | None:
    if not path.exists() or user.may(path, "r"):
        return None
    text = f"{user.name}, the user of the node, may not read {path}"
    if not all(user.may(folder, "x") for folder in path.absolute().parents):
        return problem(f"{text}: a folder above it does not permit it", "move it to another folder")
    return problem(text, command=as_root("chown", f"{user.name}:", path))


def _secret_files(case: Case) -> Iterator[Path]:
    config = case.config
    if case.source is not None and _holds_any(case.source, _secrets(config)):
        yield case.source
    yield from _files(config)
    yield config.storage_path.absolute()
    if case.is_service:
        yield case.root / paths.CREDENTIALS


def _read_by_the_node(case: Case) -> Iterator[Path]:
    if case.source is not None:
        yield case.source
    if case.config.server.tls is not None and case.config.server.tls.cert:
        yield Path(case.config.server.tls.cert)
    yield from _files(case.config)


def _files(config: Config) -> Iterator[Path]:
    """Files that contain a secret and nothing else."""
    if config.chain.wallet.keystore:
        yield Path(config.chain.wallet.keystore).expanduser().absolute()
    if config.server.tls is not None and config.server.tls.key:
        yield Path(config.server.tls.key).absolute()
    yield from (Path(each.env_file).absolute() for each in config.containers if each.env_file)
    files = (secret.file.absolute() for secret in _secrets(config) if secret.file is not None)
    yield from dict.fromkeys(files)


def _secrets(config: Config) -> list[Secret]:
    wallet = config.chain.wallet
    found = [
        *(wallet.private_key, wallet.keystore_password, config.docker.password),
        *map(secret_of, config.server.tokens.values()),
        *(container.bearer for container in config.containers),
        *(
            value
            for container in config.containers
            for table in (container.env, container.headers, container.query)
            for value in table.values()
            if isinstance(value, Secret)
        ),
    ]
    return [secret for secret in found if secret]


def _holds_any(file: Path, secrets: list[Secret]) -> bool:
    """Whether a secret is in the file itself: it may also come from another file."""
    try:
        text = file.read_text("utf-8", "replace")
    except OSError:
        return False
    return any(secret.file is None and secret.reveal() in text for secret in secrets)
