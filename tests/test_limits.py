"""docs/limits.md: each value is the one in the code, and each limit of the code is in it."""

from __future__ import annotations

import ast
import importlib
import math
import re
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest

from infernet_edge.config.model import Config
from tests.support import markdown, reference
from tests.support.markdown import DOCS, PACKAGE
from tests.support.process import ROOT

PAGE = DOCS / "limits.md"
MAX_PAGE = 52_000  # bytes; the page is part of the executable

UNITS = {
    "bytes": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "s": 1,
    "min": 60,
    "h": 3600,
    "days": 24 * 3600,
    "years": 365 * 24 * 3600,
}
SUFFIXES = {"K": 2**10, "M": 2**20, "G": 2**30}  # of systemd

MILLISECONDS = {
    "chain/chain.py _KEPT",
    "jobs/housekeeping.py _MIN_AGE_DISK_FULL",
    "jobs/housekeeping.py _MIN_AGE_AT_LIMIT",
    "storage/dates.py _MAX_AHEAD",
    "storage/elapsed.py _MAX_CREDITED",
    "storage/elapsed.py _MAX_ELAPSED",
}
"""Constants that count milliseconds; all other times of the code are seconds."""

LIMIT = re.compile(r"_?(?:(?:MAX|MIN)_\w+|(?:\w+_)?(?:TIMEOUT|TIME|SECONDS|GRACE))")
"""Names of constants that are limits."""

LIMIT_KEY = re.compile(r"\b(?:max|min)_\w+|\b(?:timeout|retention|pids|\w+_wait|backup_count)$")
"""Keys of the configuration that are limits."""

KEYS_WITHOUT_DEFAULT = {
    "server.max_held_bytes",
    "chain.max_fee_wei_per_day",
    "max_running",
}  # in the text of another row

EXCEPTIONS = {
    "chain/delivery/escrow.py _MAX_AMOUNT": "the range of a number of a contract",
    "chain/txm/confirmer.py _MIN_GAS": "the gas of an empty transaction",
    "chain/txm/store.py _MAX_INTEGER": "the range of a number of SQLite",
    "cli/doctor.py _MIN_WIDTH": "the layout of a text",
    "cli/money.py _MAX_AMOUNT": "the range of a number of a contract",
    "config/values/image_names.py _MAX_PORT": "the range of ports",
    "containers/ports.py _MIN_PORT": "the range of ports",
    "discovery/answers.py _MAX_LEGACY_TTL": "of RFC 6762",
    "discovery/fetching.py _MAX_PENDING": "the range of a number",
    "discovery/fetching.py _MAX_VERSION": "that of discovery/service.py",
    "discovery/identity.py _MAX_FILE": "of a file that the node writes, with 17 bytes",
    "discovery/link_watch.py _MAX_MESSAGES": "what is read is not used",
    "discovery/messages.py _MAX_JUMPS": "the form of a name",
    "discovery/messages.py _MAX_LABEL": "of RFC 1035",
    "discovery/messages.py _MAX_NAME": "of RFC 1035",
    "discovery/service.py _MAX_TEXT": "of RFC 6763",
    "hardware/temperature.py _MIN_CELSIUS": "the range of temperatures",
    "hardware/temperature.py _MAX_CELSIUS": "the range of temperatures",
    "storage/damaged_table.py _MAX_KEY": "the range of a key",
}
"""Constants with such a name that are not in the page, and why."""


class Row(NamedTuple):
    """A row of the tables: the number of its value, and where the value is set."""

    value: float
    place: str


def rows() -> list[Row]:
    found = []
    for cells in markdown.rows(PAGE.read_text()):
        what, value, happens, place = cells
        assert what, cells
        assert happens, f"{what}: what happens at this limit?"
        [code] = markdown.codes(place)
        found.append(Row(number(value), code))
    return found


def number(text: str) -> float:
    """A value of the tables in bytes, seconds or as it is: `64 KiB`, `7 days`, `10,000`."""
    match = re.fullmatch(r"(\d[\d,]*(?:\.\d+)?)(?: (\w+))?", text)
    assert match, f"expected a number and a unit, found {text!r}"
    return float(match[1].replace(",", "")) * UNITS[match[2] or "bytes"]


def in_code(place: str) -> float:
    """What a place says: a constant, a field with a default, a text with "=", or a key."""
    file, _, name = place.partition(" ")
    if not name:
        return float(default_of(file))
    if "=" in name:
        return in_text(file, name)
    module = importlib.import_module(f"infernet_edge.{file.removesuffix('.py').replace('/', '.')}")
    owner, _, field = name.rpartition(".")
    value = getattr(getattr(module, owner)() if owner else module, field)
    return float(value) / (1000 if place in MILLISECONDS else 1)


def in_text(file: str, text: str) -> float:
    path = ROOT / file if (ROOT / file).exists() else PACKAGE / file
    assert re.search(rf"(?<![\w.]){re.escape(text)}(?![\w.])", path.read_text()), (
        f"{file} does not contain {text!r}"
    )
    match = re.fullmatch(r" ?([\d.]+)([KMG]?)", text.rpartition("=")[2])
    assert match, text
    return float(match[1]) * SUFFIXES.get(match[2], 1)


def default_of(key: str) -> Any:
    """The default of a key, such as `jobs.retention` or `containers[].pids`."""
    kind: Any = Config
    *tables, name = key.split(".")
    for table in tables:
        declared = typing.get_type_hints(kind)[table.removesuffix("[]")]
        kind = typing.get_args(declared)[0] if table.endswith("[]") else declared
    [value] = [each.default for each in msgspec.structs.fields(kind) if each.name == name]
    assert value is not msgspec.NODEFAULT, f"{key} has no default"
    return value


def constants() -> Iterator[str]:
    """`module.py NAME` of each constant of the package whose name is that of a limit."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", 0)]
            for target in targets:
                if isinstance(target, ast.Name) and LIMIT.fullmatch(target.id):
                    yield f"{path.relative_to(PACKAGE)} {target.id}"


def test_values_are_those_of_the_code() -> None:
    found = rows()
    assert len(found) > 150
    actual = {row.place: in_code(row.place) for row in found}
    wrong = {
        row.place: f"the page says {row.value:g}, the code {actual[row.place]:g}"
        for row in found
        if not math.isclose(row.value, actual[row.place])
    }
    assert wrong == {}


def test_every_limit_of_the_code_is_in_the_page() -> None:
    here = set(constants())
    assert len(here) > 100
    listed = {row.place for row in rows()}
    assert here - listed - EXCEPTIONS.keys() == set(), "add these to docs/limits.md"
    assert EXCEPTIONS.keys() - here == set(), "these exceptions do not exist any more"
    assert EXCEPTIONS.keys() & listed == set()
    assert listed >= MILLISECONDS


def test_every_limit_of_the_configuration_is_in_the_page() -> None:
    keys = {key for key, _ in reference.settings() if LIMIT_KEY.search(key)}
    assert len(keys) > 10
    assert keys - {row.place for row in rows()} - KEYS_WITHOUT_DEFAULT == set()
    assert keys & set(markdown.codes(PAGE.read_text())) >= KEYS_WITHOUT_DEFAULT


def test_each_place_is_in_one_row() -> None:
    places = [row.place for row in rows()]
    assert sorted(set(places)) == sorted(places)


def test_the_page_is_small() -> None:
    assert PAGE.stat().st_size < MAX_PAGE


def test_units_are_understood() -> None:
    assert number("64 KiB") == 65536
    assert number("7 days") == 604800
    assert number("10,000") == 10_000
    assert number("0.5 s") == 0.5
    with pytest.raises(AssertionError):
        number("about 5")
    with pytest.raises(KeyError):
        number("5 parsecs")


def test_wrong_places_are_found() -> None:
    with pytest.raises(AttributeError):
        in_code("api/server.py MAX_NOTHING")
    with pytest.raises(AssertionError):
        in_code("systemd/infernet-edge.service TimeoutStopSec=6")
    with pytest.raises(ValueError, match="unpack"):
        in_code("jobs.nothing")
