"""Writes the shell completions of the command line, from its parsers.

    python -m tests.support.reference

They are files of the package, so that completing words starts no program; infernet-edge completion
prints them. Only names of containers are asked of infernet-edge, which reads the configuration.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from infernet_edge.cli.help import pages
from infernet_edge.cli.main import make_parser
from tests.support.parsers import options, subparsers
from tests.support.process import ROOT

FOLDER = ROOT / "infernet_edge/completions"
_PROGRAM = "infernet-edge"
_FILES = {"FILE", "PATH", "FOLDER", "BINARY"}
_MADE = "made by tests/support/completion.py; used as `infernet-edge completion` says"


class Option(NamedTuple):
    """An option: its names, its help, and what its value is; "" when it has none."""

    names: list[str]
    described: str
    value: str


class Place(NamedTuple):
    """A command, or a command of one: what can stand after it.

    `value` is what its arguments are: "file", "container", words that are listed, "any" or "".
    """

    path: str
    described: str
    commands: dict[str, str]
    options: list[Option]
    value: str


def places() -> list[Place]:
    """All commands with theirs, the program itself first; the path of that is ""."""
    return list(_below("", "", make_parser(())))


def _below(path: str, described: str, parser: argparse.ArgumentParser) -> Iterator[Place]:
    below = subparsers(parser)
    commands = {name: _short(each.description or "") for name, each in below.items()}
    found = [Option(["-h", "--help"], "show this help message", "")]
    value = ""
    for action in options(parser):
        if action.option_strings:
            kind = "" if action.nargs == 0 else _kind(action)
            found.append(Option(list(action.option_strings), _short(str(action.help)), kind))
        else:
            value = value or _kind(action)  # that of the first argument
    yield Place(path, described, commands, found, value)
    for name, each in below.items():
        yield from _below(f"{path} {name}".strip(), commands[name], each)


def _kind(action: argparse.Action) -> str:
    name = str(action.metavar or "")
    if action.choices:
        return " ".join(map(str, action.choices))
    if name in _FILES:
        return "file"
    if name == "TOPIC":
        return " ".join(pages())
    return "container" if name.startswith("CONTAINER") else "any"


def _short(text: str) -> str:
    """The beginning of a help text, on one line."""
    first = text.split("\n\n")[0].partition(";")[0].partition(" (default")[0].partition(". ")[0]
    return " ".join(first.split()).rstrip(".")


def _valued(found: Iterable[Place]) -> list[str]:
    """The options with a value, of any command; no other command has one of that name without."""
    every = [option for place in found for option in place.options]
    valued = {name for option in every if option.value for name in option.names}
    flags = {name for option in every if not option.value for name in option.names}
    assert not valued & flags, f"with and without a value: {valued & flags}"
    return sorted(valued)


def bash() -> str:
    """The completion for bash; zsh can read it too, but has its own."""
    found = places()
    cases, values = [], []
    for place in found:
        words = [*place.commands, *(name for option in place.options for name in option.names)]
        cases.append(f"        {_pattern(place.path)}) words={shlex.quote(' '.join(words))}")
        cases[-1] += f" value={shlex.quote(place.value)} ;;"
        values += [
            f"        {_pattern(f'{place.path} {name}'.strip())})"
            f" value={shlex.quote(option.value)} ;;"
            for option in place.options
            if option.value not in ("", "any")
            for name in option.names
        ]
    known = "|".join(_pattern(place.path) for place in found[1:])
    return f"""\
# bash completion of {_PROGRAM}; {_MADE}

_infernet_edge() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}}
    local place= words= value= word next number
    COMPREPLY=()
    for ((number = 1; number < COMP_CWORD; number++)); do
        word=${{COMP_WORDS[number]}}
        case $word in
        {"|".join(_valued(found))})
            number=$((number + 1))
            continue ;;
        esac
        next="$place${{place:+ }}$word"
        case $next in
        {known}) place=$next ;;
        esac
    done
    case $place in
{chr(10).join(cases)}
    esac
    case $previous in
    {"|".join(_valued(found))})
        words= value=
        case "$place $previous" in
{chr(10).join(values)}
        esac ;;
    esac
    case $current in
    -*) value= ;;
    *) [[ $words == *" -"* && $value ]] && words= ;;
    esac
    case $value in
    any) ;;
    file)
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$current")) ;;
    container)
        local before=
        [[ $current == *,* ]] && before="${{current%,*}},"
        words=$({_PROGRAM} completion --containers 2>/dev/null)
        COMPREPLY=($(compgen -P "$before" -W "$words" -- "${{current##*,}}")) ;;
    *)
        COMPREPLY=($(compgen -W "$words $value" -- "$current")) ;;
    esac
}}

complete -F _infernet_edge {_PROGRAM}
"""


def zsh() -> str:
    """The completion for zsh."""
    found = places()
    cases, values = [], []
    for place in found:
        commands = " ".join(_described(name, text) for name, text in place.commands.items())
        flags = " ".join(
            _described(name, option.described) for option in place.options for name in option.names
        )
        cases.append(
            f"        {_pattern(place.path)}) commands=({commands}) flags=({flags})"
            f" value={shlex.quote(place.value)} ;;"
        )
        values += [
            f"            {_pattern(f'{place.path} {name}'.strip())})"
            f" value={shlex.quote(option.value)} ;;"
            for option in place.options
            if option.value not in ("", "any")
            for name in option.names
        ]
    known = "|".join(_pattern(place.path) for place in found[1:])
    return f"""\
#compdef {_PROGRAM}
# zsh completion of {_PROGRAM}; {_MADE}

_infernet_edge() {{
    local place= value= word next number
    local -a commands flags names
    for ((number = 2; number < CURRENT; number++)); do
        word=${{words[number]}}
        case $word in
        {"|".join(_valued(found))})
            number=$((number + 1))
            continue ;;
        esac
        next="$place${{place:+ }}$word"
        case $next in
        {known}) place=$next ;;
        esac
    done
    case $place in
{chr(10).join(cases)}
    esac
    case ${{words[CURRENT-1]}} in
    {"|".join(_valued(found))})
        commands=() flags=() value=
        case "$place ${{words[CURRENT-1]}}" in
{chr(10).join(values)}
        esac ;;
    esac
    if [[ ${{words[CURRENT]}} == -* ]]; then
        _describe -o option flags
        return
    fi
    (( $#commands )) && _describe command commands
    case $value in
    any|'') ;;
    file) _files ;;
    container)
        names=(${{(f)"$({_PROGRAM} completion --containers 2>/dev/null)"}})
        compset -P '*,'
        compadd -- $names ;;
    *) compadd -- ${{=value}} ;;
    esac
}}

if [[ $funcstack[1] == _infernet_edge ]]; then
    _infernet_edge "$@"
else
    compdef _infernet_edge {_PROGRAM}
fi
"""


def fish() -> str:
    """The completion for fish."""
    found = places()
    lines = []
    for place in found:
        start = f"complete -c {_PROGRAM} -n {_fish(f'__infernet_edge_at {_fish(place.path)}')}"
        if place.value != "file":
            lines.append(f"{start} -f")
        lines += [
            f"{start} -f -a {_fish(name)} -d {_fish(text)}" for name, text in place.commands.items()
        ]
        if place.value == "container":
            lines.append(f"{start} -f -a '(__infernet_edge_containers)'")
        elif place.value not in ("", "any", "file"):
            lines.append(f"{start} -f -a {_fish(place.value)}")
        for option in place.options:
            names = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                for name in option.names
            )
            lines.append(f"{start} {names}{_fish_value(option.value)} -d {_fish(option.described)}")
    known = " ".join(_fish(place.path) for place in found[1:])
    return f"""\
# fish completion of {_PROGRAM}; {_MADE}

function __infernet_edge_at --description 'Whether a command is the one of the line'
    set -l place
    set -l skipped 0
    for word in (commandline -opc)[2..-1]
        if test $skipped = 1
            set skipped 0
        else if contains -- $word {" ".join(_valued(found))}
            set skipped 1
        else
            set -l next (string trim "$place $word")
            if contains -- $next {known}
                set place $next
            end
        end
    end
    test "$place" = "$argv[1]"
end

function __infernet_edge_containers --description 'Names of containers, also after a comma'
    set -l before (string match -r '.*,' -- (commandline -ct))
    for name in ({_PROGRAM} completion --containers 2>/dev/null)
        echo "$before$name"
    end
end

{chr(10).join(lines)}
"""


def _pattern(path: str) -> str:
    return f'"{path}"' if " " in path or not path else path


def _described(name: str, text: str) -> str:
    return shlex.quote(f"{name}:{text}")


def _fish(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _fish_value(value: str) -> str:
    if not value:
        return ""
    if value == "file":
        return " -r -F"
    if value == "container":
        return " -x -a '(__infernet_edge_containers)'"
    return " -x" if value == "any" else f" -x -a {_fish(value)}"


FILES = {"bash": bash, "zsh": zsh, "fish": fish}
"""What makes the file of each shell, FOLDER/infernet-edge.SHELL."""
