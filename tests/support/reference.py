"""Writes the pages of the documentation that are made from the code, and the shell completions.

    python -m tests.support.reference

That is infernet_edge/docs/configuration.md, from the model of the configuration, and commands.md,
from the parsers of the command line. A test compares them with what is in the repository. The texts
at their beginning are here, all others stand where the setting or the option is defined.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from msgspec import NODEFAULT, Meta, Struct

from infernet_edge.cli.main import COMMANDS, make_parser
from infernet_edge.config.model import Config
from infernet_edge.config.rendering import Key, keys, toml_value
from infernet_edge.config.secret_files import Secret
from tests.support import completion
from tests.support.parsers import options, subparsers
from tests.support.process import ROOT

DOCS = ROOT / "infernet_edge/docs"
_WIDTH = 100
_PROGRAM = "infernet-edge"

_CONFIGURATION = """\
# Configuration: every setting

This page is made from the code: `python -m tests.support.reference`. `infernet-edge init` writes
a file with the same settings as comments.

## Where it comes from

The file is the first of these that exists: `--config PATH`, `$INFERNET_CONFIG_PATH`,
`./config.json`, `./config.toml`, `/etc/infernet-edge/config.json`,
`/etc/infernet-edge/config.toml`. A file that is named and does not exist is an error. Without a
file all defaults apply. JSON and TOML have the same keys. A `config.json` of the
Infernet node 1.4 works unchanged, and so do older names of its keys. `redis`, `forward_stats` and
`stats` are ignored: there is no other service, and nothing leaves the device.

A relative path in a file is relative to the folder of that file; what the installed service writes
(`log.path`, `storage.path`) is below its state folder, `/var/lib/infernet-edge`. A relative path
from the environment is relative to the working directory. `check` shows where the data and the log
are. Earlier versions resolved all of them from the working directory: a database that is only there
is still used, with a note that names it.

Each setting can also come from the environment, which overrides the file. The name is
`INFERNET_EDGE_` and the key in capitals, with two underscores between levels:
`INFERNET_EDGE_SERVER__PORT=4001`, `INFERNET_EDGE_CONTAINERS__0__MEMORY=512m`. Lists and tables are
written as JSON.

A secret can be a text, a file (`{ file = "/path" }` in TOML, `{"file": "/path"}` in JSON), or a
credential of systemd. A credential has the name of its key: `chain.wallet.private_key`,
`chain.wallet.keystore_password`, `docker.password`, `server.tokens.NAME`, `containers.ID.bearer`.
It is used if the file does not set the key; a table `server.tokens.NAME` without `token` and `file`
gets it as its `token`.

## How to check it

```sh
infernet-edge check --config config.toml
```

lists all errors at once, each with its key, what was found and what is expected, and ends with
78 when there are any. A key that is not known is ignored with a note that names where it belongs,
or the nearest one.
After a change, `infernet-edge reload` lets the running node read it again, and names the keys that
need a restart.

Sizes are in bytes, times in seconds, money in wei. `containers[]` stands for each container of the
list; in TOML each begins with `[[containers]]`.

## The settings
"""

_COMMANDS = """\
# Commands: every command, option and exit code

This page is made from the code: `python -m tests.support.reference`. `infernet-edge COMMAND --help`
says the same.

## Exit codes

| code | meaning |
|---|---|
| 0 | success |
| 1 | failure: the text says why. `status`: no node, or an unhealthy one. `doctor`: problems |
| 2 | wrong usage: an unknown command, option or value |
| 78 | configuration errors; all of them are listed |
| 130 | stopped by Ctrl+C |

`submit --wait`, `wait` and `stream` also end with 1 when a job failed or takes longer.

`run` ends with 0 when it is stopped by Ctrl+C or SIGTERM.

Where it says `--config PATH`, [configuration](configuration.md) has which file is read without it.

## Which node a command asks

Commands with `--url` ask the node that runs on this machine with this configuration, through the
socket in its storage folder: run them as its user (of the installed service, with sudo). They may
see and cancel the jobs of all clients. `--url http://raspberrypi.local:4000`, or the variable
`INFERNET_EDGE_URL`, names another node. A token for it comes from the variable
`INFERNET_EDGE_TOKEN` or from `--token-file FILE`, never from the command line, where other users
of the machine can see it. A certificate that the system does not trust is named with
`--cacert FILE`. Proxies of the environment are used only for addresses outside of this network.

In a pipe or a file the output is what the node sent; on a terminal, characters that it would
interpret are escaped. With `--json`, stdout has one JSON document, or one line for each event;
messages go to stderr. All commands have it but `run` and `demo`, which work until they are stopped
(a log in `log.path` is JSON), and `completion`, which prints a script. A command that fails
prints no document, or one that says what failed.
"""


def configuration_page() -> str:
    """The text of configuration.md."""
    return "\n".join([_CONFIGURATION, *_level(Config, "")])


def commands_page() -> str:
    """The text of commands.md."""
    parser = make_parser(())
    lines = [_COMMANDS]
    for name in COMMANDS:
        lines += _command(subparsers(parser)[name])
    return "\n".join(lines).rstrip() + "\n"


def settings(target: type[Struct] = Config, path: str = "") -> Iterator[tuple[str, Key]]:
    """Every setting that is served, with its full path, such as `containers[].id`."""
    for key in keys(target):
        if not key.is_served:
            continue
        below = f"{path}.{key.name}" if path else key.name
        if key.table:
            yield from settings(key.table, below)
        elif key.item_table:
            yield from settings(key.item_table, f"{below}[]")
        else:
            yield below, key


def _level(target: type[Struct], path: str) -> Iterator[str]:
    group = ""
    for name, key in settings(target, path):
        if (head := name.rpartition(".")[0]) != group:
            group = head
            yield f"\n### `{group}`\n"
        default = _required(group) if key.default is NODEFAULT else _default(key)
        yield _item(f"- **`{name}`** ({_kind(key.hint)}; {default}): {_sentence(key.description)}")


def _required(group: str) -> str:
    return "required" if group.endswith("[]") else "required, where the table is there"


def _default(key: Key) -> str:
    if key.default is None or (key.default == "" and "default:" in key.description):
        return "not set"
    return f"default: `{toml_value(key.default)}`"


def _sentence(text: str) -> str:
    return text if text.endswith((".", ":")) else f"{text}."


def _kind(hint: Any) -> str:
    """What values a setting takes, in words."""
    if get_origin(hint) is Annotated:
        base, *notes = get_args(hint)
        bounds = ", ".join(filter(None, map(_bounds, notes)))
        return f"{_kind(base)}{', ' if bounds else ''}{bounds}"
    if get_origin(hint) is Literal:
        return " or ".join(f"`{toml_value(choice)}`" for choice in get_args(hint))
    if get_origin(hint) is list:
        return f"list, each {_kind(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return f"table, each value {_kind(get_args(hint)[1])}"
    if members := [each for each in get_args(hint) if each is not NoneType]:
        return " or ".join(dict.fromkeys(map(_kind, members)))
    names = {
        bool: "true or false",
        int: "whole number",
        float: "number",
        str: "text",
        Secret: "secret",
        Any: "any",
    }
    return names.get(hint) or hint.__name__


def _bounds(note: Any) -> str:
    if not isinstance(note, Meta):
        return ""
    least = note.ge if note.ge is not None else note.gt
    if least is not None and note.le is not None:
        if note.ge is None:
            return f"more than {_number(least)}, at most {_number(note.le)}"
        return f"{_number(least)} to {_number(note.le)}"
    if least is None:
        return ""
    return f"more than {least}" if note.ge is None else f"{_number(least)} or more"


def _number(value: float) -> str:
    year = 365 * 24 * 3600
    return f"{int(value) // year} years" if value > 10 * year else str(int(value))


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"\n## `{parser.prog}`\n"
    if parser.description:
        yield _prose(parser.description)
    for action in options(parser):
        yield _item(f"- `{_usage(action)}`: {_sentence(_help(action, parser))}")
    if parser.epilog:
        yield f"\n{_prose(parser.epilog)}".rstrip()
    for each in subparsers(parser).values():
        yield from (line.replace("\n## ", "\n### ") for line in _command(each))


def _usage(action: argparse.Action) -> str:
    value = action.metavar or ("" if action.nargs == 0 else _value(action))
    if not action.option_strings:
        return str(value)
    return ", ".join(f"{option} {value}".rstrip() for option in action.option_strings)


def _value(action: argparse.Action) -> str:
    return "|".join(map(str, action.choices)) if action.choices else action.dest.upper()


def _help(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    for repeated in ("configuration, JSON or TOML", "the node to ask"):
        if (action.help or "").startswith(repeated):
            return repeated
    return str(action.help) % {**vars(action), "prog": parser.prog}


def _prose(text: str) -> str:
    """Paragraphs as they are; what is indented, such as a list of checks, as a block of code."""
    parts: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        if paragraph.startswith("  "):
            parts.append(f"```\n{textwrap.dedent(paragraph)}\n```")
        else:
            parts.append(textwrap.fill(_sentence(paragraph[0].upper() + paragraph[1:]), _WIDTH))
    return "\n\n".join(parts) + "\n"


def _item(text: str) -> str:
    return textwrap.fill(
        text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def write() -> list[Path]:
    """Write the pages; returns those that changed."""
    texts = {
        DOCS / "configuration.md": configuration_page(),
        DOCS / "commands.md": commands_page(),
    }
    for shell, make in completion.FILES.items():
        texts[completion.FOLDER / f"{_PROGRAM}.{shell}"] = make()
    changed = []
    for page, text in texts.items():
        page.parent.mkdir(exist_ok=True)
        if not page.exists() or page.read_text("utf-8") != text:
            page.write_text(text, "utf-8")
            changed.append(page)
    return changed


if __name__ == "__main__":
    for path in write():
        print(f"wrote {path.relative_to(ROOT)}")
