"""What is installed with the node: tested versions, and bounds where they are free."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.process import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [
    Requirement(line)
    for line in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["gpu"])
]
LOCKS = ["requirements.lock", "tests/requirements.lock", "tests/lowest.lock"]


MODULES = {"py-cpuinfo": "cpuinfo", "nvidia-ml-py": "pynvml"}
"""Distributions whose module has another name."""


def imported() -> set[str]:
    """The libraries that the package imports, wherever that is in its code."""
    found = set()
    for path in (ROOT / "infernet_edge").rglob("*.py"):
        if "substitutes" in path.parts:  # they stand for libraries of libraries
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"infernet_edge"}


def test_what_the_package_imports_is_declared() -> None:
    """The tests have more libraries: they would not notice that one is missing."""
    names = [MODULES.get(each.name, each.name.replace("-", "_")) for each in REQUIREMENTS]
    assert imported() == set(names)


def locked(lock: str) -> dict[str, Version]:
    pinned = re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / lock).read_text(), re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in pinned}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_each_has_a_lower_and_an_upper_bound(requirement: Requirement) -> None:
    operators = {specifier.operator for specifier in requirement.specifier}
    assert operators == {">=", "<"}


@pytest.mark.parametrize("lock", LOCKS)
def test_locked_versions_are_within_the_bounds(lock: str) -> None:
    versions = locked(lock)
    for requirement in REQUIREMENTS:
        name = canonicalize_name(requirement.name)
        if lock != "requirements.lock" or name != "nvidia-ml-py":  # of the extra "gpu"
            assert versions[name] in requirement.specifier, name


def test_the_lowest_versions_are_the_lower_bounds() -> None:
    """`tests/run --lowest` tries them, so that they are no guess."""
    versions = locked("tests/lowest.lock")
    for requirement in REQUIREMENTS:
        [lower] = [each for each in requirement.specifier if each.operator == ">="]
        found = versions[canonicalize_name(requirement.name)]
        assert str(found).startswith(lower.version), requirement.name


@pytest.mark.parametrize("lock", [*LOCKS, "tests/official_client/requirements.lock"])
def test_locks_hold_hashes_and_no_addresses(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=\w)", text) if "==" in entry)


def test_the_first_command_of_the_readme_installs_the_locked_versions() -> None:
    readme = Path(ROOT, "README.md").read_text()
    first = readme[readme.index("```sh") :].partition("```\n")[0]
    assert "pip install -r requirements.lock" in first
    assert "pip install --no-deps ." in first
