"""`infernet-edge init`: write a configuration, after a few questions or from flags."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infernet_edge.cli.examples import add_examples
from infernet_edge.cli.inputs import Unusable, add_input_arguments, is_interactive, problems_of
from infernet_edge.cli.links import config_option
from infernet_edge.cli.output import add_json_argument, answering
from infernet_edge.cli.protection import Protection, add_protection_arguments

HELP = "write a configuration file, with every setting explained"

_FIRST_CONTAINER_PORT = 3000
_FAILED, _USAGE = 1, 2


if TYPE_CHECKING:
    from infernet_edge.cli.inputs import Completed
    from infernet_edge.config.recipes.files import SecretFile
    from infernet_edge.config.recipes.recipe import Keys


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_examples(
        parser,
        "infernet-edge init",
        "infernet-edge init --yes --image docker.io/me/model:1 --id model",
        "infernet-edge init --yes --token laptop",
        "infernet-edge init --recipe node.json --set-file rpc_key=key.txt",
    )
    parser.description = (
        "Write a configuration file. On a terminal, it asks for settings without a flag;"
        " elsewhere, or with --yes, it asks no questions. To protect the node, it makes a token in"
        " the storage folder and prints a link that has it, once: open that in a browser."
    )
    parser.add_argument(
        "--output", type=Path, metavar="PATH", help="the file to write (default: ./config.toml)"
    )
    parser.add_argument(
        "--format",
        choices=["toml", "json"],
        help="toml explains every setting in comments; json contains only the chosen settings",
    )
    parser.add_argument("--host", help="address to listen on; 127.0.0.1 = this machine only")
    parser.add_argument("--port", type=int, help="port of the REST API")
    for kind, described in (
        ("image", "an image to run as a container"),
        ("url", "a service that runs elsewhere"),
    ):
        parser.add_argument(
            f"--{kind}",
            dest="sources",
            action="append",
            default=[],
            type=_source_of(kind),
            metavar=kind.upper(),
            help=f"{described}; may be given several times",
        )
    parser.add_argument(
        "--id",
        dest="ids",
        metavar="ID",
        action="append",
        default=[],
        help="name in jobs of the first, second, ... image or url (default: from its name)",
    )
    parser.add_argument(
        "--recipe",
        type=Path,
        metavar="FILE",
        help="a recipe of the registry (infernet-recipes), of a node or of a service, to fill in;"
        " its secrets go to files of their own, and come from INFERNET_INPUT_ID in the environment,"
        " --set-file, or a question",
    )
    add_input_arguments(parser)
    add_protection_arguments(parser)
    parser.add_argument("--yes", "--defaults", action="store_true", help="ask no questions")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the file; returns the exit code."""
    try:
        with answering(as_json=arguments.json) as answer:
            _init(arguments, answer)
    except Unusable as problem:
        print(problem, file=sys.stderr)
        return problem.code
    except (EOFError, KeyboardInterrupt):
        print("\nNothing was written.", file=sys.stderr)
        return _FAILED
    return 0


def _init(arguments: argparse.Namespace, answer: dict[str, Any]) -> None:
    """Write the file, and say what to do next. Raises Unusable, EOFError."""
    from infernet_edge.cli.add_service import secret_answer, secret_lines

    output, kind = _output(arguments)
    _refuse_existing(arguments, output)
    completed = _completed(arguments)
    chosen = _chosen(arguments, completed)
    protection = Protection(arguments, output, chosen)
    if is_interactive(arguments):
        _ask_for_the_rest(chosen, protection)
    files, remaining = _write_all(
        output, kind, chosen, completed, protection, replace=arguments.force
    )
    notes = completed.notes if completed else ()
    if arguments.json:  # nothing else: stderr may be kept in a log, and the link has the token
        answer |= {
            "configuration": str(output.absolute()),
            "containers": [each["id"] for each in chosen.get("containers") or []],
            "token": protection.answer(),
            **secret_answer(files, remaining, notes),
        }
        return
    lines: list[str] = []
    if completed is not None:
        shown = [f"note: {note}" for note in notes]
        lines = [*completed.lines, *shown, *secret_lines(files, remaining, output)]
    print("\n".join(_next_steps(output, chosen, lines, protection)))


def _source_of(kind: str) -> Callable[[str], tuple[str, str]]:
    return lambda text: (kind, text)


def _output(arguments: argparse.Namespace) -> tuple[Path, str]:
    """The file to write, and its format, which the suffix of its name determines."""
    kind = arguments.format
    output: Path = arguments.output or Path(f"config.{kind or 'toml'}")
    if output.suffix not in (".toml", ".json") or (kind and output.suffix != f".{kind}"):
        raise Unusable(f"The name {output} must end in .{kind or 'toml or .json'}.", _USAGE)
    return output, output.suffix.removeprefix(".")


def _refuse_existing(arguments: argparse.Namespace, output: Path) -> None:
    with _explained(output):
        if not arguments.force and output.exists():
            raise FileExistsError  # before the questions, not after them


def _completed(arguments: argparse.Namespace) -> Completed | None:
    """The recipe's configuration with all values; None without a recipe."""
    if arguments.recipe is None:
        if arguments.set_values or arguments.set_files:
            raise Unusable("--set and --set-file need --recipe.", _USAGE)
        return None
    from infernet_edge.cli.inputs import complete, read_recipe

    return complete(read_recipe(arguments.recipe), arguments)


def _chosen(arguments: argparse.Namespace, completed: Completed | None) -> dict[str, Any]:
    """The document that recipe and flags describe."""
    chosen: dict[str, Any] = {}
    if completed is not None and completed.is_service:
        from infernet_edge.cli.add_service import prepare_container

        chosen["containers"] = [prepare_container(completed.config, {})]
    elif completed is not None:
        chosen |= completed.config
    _add_flags(chosen, arguments)
    return chosen


def _add_flags(chosen: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Add what the flags describe. Raises Unusable when the document would not load."""
    server = {"host": arguments.host, "port": arguments.port}
    given = {name: value for name, value in server.items() if value is not None}
    chosen["server"] = {**(chosen.get("server") or {}), **given}
    if len(arguments.ids) > len(arguments.sources):
        raise Unusable(
            "Each --id names an --image or a --url: there are fewer of them than of --id.", _USAGE
        )
    for position, (kind, source) in enumerate(arguments.sources):
        name = arguments.ids[position] if position < len(arguments.ids) else _id_from(source)
        _add_container(chosen, name, kind, source)
    errors = "\n".join(_errors(chosen))
    if errors:
        raise Unusable(errors, _USAGE)


def _add_container(chosen: dict[str, Any], name: str, kind: str, source: str) -> None:
    """Add a container; each that runs on this machine gets a separate port."""
    containers = chosen.setdefault("containers", [])
    container: dict[str, Any] = {"id": name, kind: source}
    taken = [chosen["server"].get("port"), *(other.get("port") for other in containers)]
    if kind == "image":
        container["port"] = next(
            port for port in range(_FIRST_CONTAINER_PORT, 65536) if port not in taken
        )
    containers.append(container)


def _id_from(source: str) -> str:
    """A name for a container: `alpine` for docker.io/library/alpine:3, `box` for http://box:1."""
    last = source.rstrip("/").rpartition("/")[2]
    name = re.sub(r"[^A-Za-z0-9._-]", "-", re.split("[:@]", last)[0])
    return name.lstrip("._-") or "service"


def _errors(chosen: dict[str, Any]) -> list[str]:
    """The errors of loading this document."""
    return [str(problem) for problem in problems_of(chosen)]


def _ask_for_the_rest(chosen: dict[str, Any], protection: Protection) -> None:
    """Ask on the terminal for settings without a flag. Raises EOFError at the end of input."""
    print("Press Enter to accept the answer in [brackets].\n")
    server = chosen["server"]
    if "port" not in server:
        server["port"] = _ask("Port of the REST API", "4000", _port)
    if "host" not in server:
        lan = _ask("May other machines in your network use it? (yes/no)", "yes", _yes_or_no)
        server["host"] = "0.0.0.0" if lan else "127.0.0.1"
    protection.ask(lambda question: bool(_ask(question, "yes", _yes_or_no)))
    if "containers" not in chosen:
        _ask_for_a_container(chosen)


def _ask_for_a_container(chosen: dict[str, Any]) -> None:
    question = "Image of your first container, or URL of a running service"
    kind, source = _ask(question, "none yet", _source)
    if source:
        name = _ask("Its name in jobs", _id_from(source), _container_name)
        _add_container(chosen, name, kind, source)


def _ask(question: str, default: str, read: Callable[[str], Any]) -> Any:
    """Ask until `read` accepts the answer; it raises ValueError with the reason."""
    while True:
        answer = input(f"{question} [{default}]: ").strip() or default
        try:
            return read(answer)
        except ValueError as problem:
            print(f"  {problem}")


def _port(answer: str) -> int:
    if not answer.isascii() or not answer.isdigit() or not 1 <= int(answer) <= 65535:
        raise ValueError("Please give a number from 1 to 65535.")
    return int(answer)


def _yes_or_no(answer: str) -> bool:
    if answer.lower() not in ("y", "yes", "n", "no"):
        raise ValueError("Please answer yes or no.")
    return answer.lower().startswith("y")


def _source(answer: str) -> tuple[str, str]:
    if answer.lower() in ("none yet", "none", "no"):
        return "image", ""
    kind = "url" if "://" in answer else "image"
    _refuse_errors({"id": "service", kind: answer})
    return kind, answer


def _container_name(answer: str) -> str:
    _refuse_errors({"id": answer, "image": "any"})
    return answer


def _refuse_errors(container: dict[str, Any]) -> None:
    errors = _errors({"containers": [container]})
    if errors:
        raise ValueError(errors[0].partition(": ")[2].capitalize() + ".")


def _write_all(
    output: Path,
    kind: str,
    chosen: dict[str, Any],
    completed: Completed | None,
    protection: Protection,
    *,
    replace: bool,
) -> tuple[list[SecretFile], list[Keys]]:
    """Write the file, and secrets of a recipe to their own; returns those, and which are left."""
    if completed is None:
        _write(output, kind, chosen, protection, replace=replace)
        return [], []
    from infernet_edge.config.model import Config, Container
    from infernet_edge.config.recipes.files import move_secrets, written

    part, root = (chosen["containers"][0], Container) if completed.is_service else (chosen, Config)
    with _explained(output):
        files, remaining = move_secrets(part, completed.secrets, root, output, completed.files)
        output.parent.mkdir(parents=True, exist_ok=True)
        with written(files):
            _write(output, kind, chosen, protection, replace=replace)
    return files, remaining


def _write(
    output: Path, kind: str, chosen: dict[str, Any], protection: Protection, *, replace: bool
) -> None:
    """Write the file atomically, readable for its owner only, and make the token."""
    from infernet_edge.config.rendering import to_json, to_toml

    text = to_toml(chosen) if kind == "toml" else to_json(chosen)
    written = output.with_name(f".{output.name}.{os.getpid()}")
    with _explained(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        try:
            written.touch(mode=0o600, exist_ok=False)
            written.write_text(text, encoding="utf-8")
            with protection.made():
                if not replace:
                    output.touch(exist_ok=False)  # the name may have been taken meanwhile
                written.replace(output)
        finally:
            written.unlink(missing_ok=True)


@contextmanager
def _explained(output: Path) -> Iterator[None]:
    """Turn errors of the operating system into advice for the user."""
    try:
        yield
    except FileExistsError:
        advice = "Use --force to replace it, or --output to write another file."
        raise Unusable(f"{output} exists. {advice}", _FAILED) from None
    except OSError as error:
        reason = (
            f"{output} cannot be written ({error.strerror}). Use --output to choose another path."
        )
        raise Unusable(reason, _FAILED) from error


def _next_steps(
    output: Path, chosen: dict[str, Any], lines: list[str], protection: Protection
) -> Iterator[str]:
    from infernet_edge.config.sources import find_file

    yield f"Wrote {output}, which only you can read."
    yield from lines
    if not chosen.get("containers"):
        yield "It has no container yet: a job needs one, see containers in the file."
        if lines:
            yield "The recipe of a service is added by: infernet-edge add-service FILE"
    option = config_option(None if find_file(None, os.environ) == output else output)
    yield from protection.lines(option)
    yield "Next:"
    yield f"  infernet-edge check{option}    # validate it"
    yield f"  infernet-edge run{option}"
