"""What is installed with the node: tested versions, and bounds where they are free."""

from __future__ import annotations

import re
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
