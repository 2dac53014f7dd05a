"""The packages of infernet_edge import in one direction, and stay small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = "infernet_edge"

# The units of the package, highest layer first. A unit is a package, or a module of the top level.
# A unit imports only units of lower layers; those of one layer do not import each other.
LAYERS: Final = (
    {"__main__"},
    {"cli"},
    {"demo", "doctor", "export"},
    {"installer", "node", "notify"},
    {"control", "reloading"},
    {"api", "chain"},
    {"jobs"},
    {"containers", "discovery"},
    {"hardware", "http_client"},
    {"backup", "memory"},
    {"storage", "unpacked"},
    {"events", "folders", "tasks"},
    {"logs"},
    {"config", "statistics"},
    {
        "backoff",
        "clock",
        "dashboard",
        "executable",
        "invariants",
        "journal",
        "json_schema",
        "metrics",
        "schema",
        "validation",
    },
    {"errors"},
)

# The packages of chain/, and which of them each imports; what is in chain/ itself imports all.
CHAIN: Final = {
    "rpc": set[str](),
    "contracts": {"rpc"},
    "guard": {"contracts", "rpc"},
    "txm": {"contracts", "rpc"},
    "wallet": {"contracts", "rpc"},
    "delivery": {"contracts", "guard", "rpc", "txm"},
    "subscriptions": {"contracts", "delivery", "guard", "rpc"},
}

MAX_MODULES: Final = 16  # of a package, __init__.py not counted
MANY_MODULES: Final = {"cli", "doctor"}  # one module for each command, for each check
MAX_MODULES_OF: Final[dict[str, int]] = {}  # of a package that is too large today
MAX_LINES: Final = 450
MAX_LINES_OF: Final[dict[str, int]] = {  # of a module that is too long today
}


def modules() -> list[Path]:
    """The modules of the package, as paths below it; without the substitutes of libraries."""
    folder = ROOT / PACKAGE
    found = (path.relative_to(folder) for path in folder.rglob("*.py"))
    return sorted(path for path in found if path.parts[0] != "substitutes")


def imports(module: Path) -> Iterator[tuple[str, ...]]:
    """What a module imports from the package, in parts: ("chain", "rpc", "client", "Rpc").

    Those inside of functions and for type checkers count as well.
    """
    tree = ast.parse((ROOT / PACKAGE / module).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            first, *parts = name.split(".")
            if first == PACKAGE and parts:
                yield tuple(parts)


def unit_of(module: Path) -> str:
    return module.parts[0].removesuffix(".py")


def is_unit(name: str) -> bool:
    """Whether a name of the package is a unit; the others are constants of its __init__.py."""
    folder = ROOT / PACKAGE
    return (folder / f"{name}.py").is_file() or (folder / name).is_dir()


def upward(module: Path) -> list[str]:
    """The imports of a module that the layers do not allow."""
    rank = {unit: number for number, units in enumerate(LAYERS) for unit in units}
    unit = unit_of(module)
    found = []
    for parts in imports(module):
        other = parts[0]
        if is_unit(other) and other != unit and rank[other] <= rank[unit]:
            found.append(f"{module} imports {'.'.join(parts)}")
        if unit == other == "chain" and len(module.parts) > 2:
            own, package = module.parts[1], parts[1]
            if package != own and package not in CHAIN[own]:
                found.append(f"{module} imports {'.'.join(parts)}")
    return found


def test_imports_run_downwards() -> None:
    assert [line for module in modules() for line in upward(module)] == []


@pytest.mark.parametrize(
    "line",
    [
        "from infernet_edge.cli.main import main",
        "import infernet_edge.node",
        "from infernet_edge import api",
        "from infernet_edge.chain.delivery.store import Delivery",
        "def load():\n    from infernet_edge.chain import chain",
    ],
)
def test_an_import_upwards_is_found(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = Path("chain/txm/store.py")
    for copied in (module, Path("cli/main.py"), Path("node.py"), Path("api/app.py")):
        path = tmp_path / PACKAGE / copied
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(line)
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    assert len(upward(module)) == 1


def test_every_unit_has_one_layer() -> None:
    named = [unit for units in LAYERS for unit in units]
    assert sorted(named) == sorted({unit_of(module) for module in modules()} - {"__init__"})


def test_every_package_of_chain_is_named() -> None:
    found = {module.parts[1] for module in modules() if module.parts[0] == "chain"}
    assert {name for name in found if not name.endswith(".py")} == CHAIN.keys()


def test_packages_are_small() -> None:
    counts: dict[str, int] = {}
    for module in modules():
        if module.name != "__init__.py":
            package = module.parent.as_posix().removeprefix(".")
            counts[package] = counts.get(package, 0) + 1
    large = {
        package: count
        for package, count in counts.items()
        if package not in MANY_MODULES and count > MAX_MODULES_OF.get(package, MAX_MODULES)
    }
    assert large == {}


def test_modules_are_short() -> None:
    lengths = {
        module.as_posix(): len((ROOT / PACKAGE / module).read_text(encoding="utf-8").splitlines())
        for module in modules()
    }
    assert {
        module: length
        for module, length in lengths.items()
        if length > MAX_LINES_OF.get(module, MAX_LINES)
    } == {}


def test_one_class_name_stands_for_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
