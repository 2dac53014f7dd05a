"""`infernet-edge export`: the node and its services as files of Kubernetes or Podman."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infernet_edge import __version__
from infernet_edge.cli.configuration import add_config_argument, load_or_explain
from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.output import add_json_argument, answering

if TYPE_CHECKING:
    from infernet_edge.export.plan import Plan

HELP = "write the node and its services as files of Kubernetes or Podman"

_TEXT = """\
kubectl apply -f node.yaml, or podman kube play node.yaml, starts the first. The files contain no
secret. What they need of those, and what they do not express, is said at their top. The node needs
an image with its executable: see infernet-edge help export.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge export kube > node.yaml",
        "infernet-edge export quadlet --folder ~/.config/containers/systemd",
        text=_TEXT,
    )
    parser.add_argument(
        "form",
        metavar="kube|quadlet",
        choices=("kube", "quadlet"),
        help="Kubernetes manifests, or Podman's quadlet units",
    )
    add_config_argument(parser)
    parser.add_argument("--name", default="infernet-edge", help="name of the node's objects")
    parser.add_argument(
        "--image",
        default=f"localhost/infernet-edge:{__version__}",
        help="image with the node's executable (default: %(default)s)",
    )
    parser.add_argument(
        "--show-env",
        action="store_true",
        help="write the variables of containers (env); else they are secrets, since they may be",
    )
    parser.add_argument("--folder", type=Path, help="write files there instead of printing them")
    parser.add_argument("--force", action="store_true", help="with --folder: replace files")
    add_json_argument(parser, "print JSON: the files, with their texts or paths, and the notes")


def run(arguments: argparse.Namespace) -> int:
    """Export; returns 0, 1 when files cannot be written, 2 for wrong usage, 78."""
    loaded = load_or_explain(arguments)
    if loaded is None:
        return 78
    from infernet_edge.export.plan import make_plan, object_name

    if object_name(arguments.name) != arguments.name:
        print(
            f"--name: {arguments.name} is no name of an object; use small letters, digits and"
            f" hyphens, such as {object_name(arguments.name)}",
            file=sys.stderr,
        )
        return 2
    plan = make_plan(
        loaded.config, arguments.name, arguments.image, show_environment=arguments.show_env
    )
    files, notes = _kube(plan) if arguments.form == "kube" else _quadlet(plan)
    with answering(as_json=arguments.json) as answer:
        if arguments.folder is not None:
            return _write(arguments.folder, files, notes, answer, force=arguments.force)
        if arguments.json:
            listed = [{"name": name, "text": text} for name, text in files.items()]
            answer |= {"files": listed, "notes": notes}
        else:
            print(_printed(files, notes), end="")
    return 0


def _kube(plan: Plan) -> tuple[dict[str, str], list[str]]:
    """One file with all objects, and its notes."""
    from infernet_edge.export.kube import manifests, secret_template
    from infernet_edge.export.yaml import to_yaml

    objects, notes = manifests(plan)
    text = "---\n".join(map(to_yaml, objects))
    if (secret := secret_template(plan)) is not None:
        text += "---\n" + _comments(to_yaml(secret).splitlines())
    return {f"{plan.name}.yaml": text}, notes


def _quadlet(plan: Plan) -> tuple[dict[str, str], list[str]]:
    from infernet_edge.export.quadlet import units

    return units(plan)


def _printed(files: Mapping[str, str], notes: Iterable[str]) -> str:
    """All files as one text, with their names where there are several."""
    parts = [_comments(notes)]
    for name, text in files.items():
        parts.append(f"# ---- {name}\n{text}" if len(files) > 1 else text)
    return "\n".join(part for part in parts if part)


def _comments(lines: Iterable[str]) -> str:
    return "".join(f"# {line}\n" for line in lines)


def _write(
    folder: Path,
    files: Mapping[str, str],
    notes: list[str],
    answer: dict[str, Any],
    *,
    force: bool,
) -> int:
    if not force and (existing := [name for name in files if (folder / name).exists()]):
        print(f"{folder} has {', '.join(existing)} already; replace with --force", file=sys.stderr)
        return 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            part = folder / f".{name}.part"
            part.write_text(text, "utf-8")
            part.replace(folder / name)
    except OSError as error:
        print(f"{folder} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    for note in notes:
        print(f"note: {note}")
    for name in files:
        print(f"wrote {folder / name}")
    listed = [{"name": name, "path": str((folder / name).absolute())} for name in files]
    answer |= {"files": listed, "notes": notes}
    return 0
