"""A configuration that is copied for the service, with the secrets beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from infernet_edge.config.loading import load_valid_parts
from infernet_edge.config.model import DATABASE
from infernet_edge.config.recipes.files import FOLDER
from infernet_edge.config.secret_files import read_secret
from infernet_edge.installer.steps import Step, make_folder, write_file


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


def database_elsewhere(given: Path, used: Path, environment: Mapping[str, str]) -> str:
    """A note on the database that a node with the `given` configuration had; "" when it has none.

    `used` is the service's folder of data: a relative path of a copy means another folder.
    `environment` is that of the user.
    """
    plain = {name: text for name, text in environment.items() if name != "STATE_DIRECTORY"}
    before = load_valid_parts(given, plain)[0].config.storage_path
    if before.resolve() == used.resolve() or not (before / DATABASE).exists():
        return ""
    return (
        f"note: the jobs of the node before stay in {before}; the service keeps its own in {used}."
        " To go on with them, stop both and move the files there, or set storage.path to that"
        " folder and install again"
    )
