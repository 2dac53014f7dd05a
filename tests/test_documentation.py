"""The documentation is complete and true, as far as a program can see that."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from starlette.routing import Route

from infernet_edge import errors
from infernet_edge.api.app import Api
from infernet_edge.chain.contracts.delegation import parse_request
from infernet_edge.chain.delivery import record
from infernet_edge.chain.subscriptions import store as subscriptions
from infernet_edge.chain.txm.in_flight import InFlightState
from infernet_edge.cli import main as command_line
from infernet_edge.cli.main import COMMANDS, make_parser
from infernet_edge.config import ConfigurationError
from infernet_edge.config.loading import build
from infernet_edge.config.model import Config
from infernet_edge.config.rendering import to_toml
from infernet_edge.containers.connection import OLDEST
from infernet_edge.dashboard import FILES, INDEX
from infernet_edge.doctor.runner import CHECKS
from infernet_edge.jobs.job import STATUS_NAMES
from tests.support import markdown, parsers, reference
from tests.support.markdown import ARCHITECTURE, DOCS, PACKAGE, README
from tests.support.process import ROOT
from tests.support.running import running
from tests.test_events import described, described_for_clients

PAGES = markdown.pages()
COMMANDS_PAGE = DOCS / "commands.md"
REQUIREMENTS = DOCS / "requirements.md"
BENCHMARKS = DOCS / "benchmarks.md"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def words(text: str) -> str:
    """A text without its line breaks."""
    return " ".join(text.split())


# What is written from the code.


def test_the_pages_that_are_made_from_the_code_are_up_to_date() -> None:
    expected = "run: python -m tests.support.reference"
    assert (DOCS / "configuration.md").read_text() == reference.configuration_page(), expected
    assert COMMANDS_PAGE.read_text() == reference.commands_page(), expected


def test_every_setting_is_documented() -> None:
    page = (DOCS / "configuration.md").read_text()
    documented = set(re.findall(r"^- \*\*`([\w.\[\]]+)`\*\*", page, re.M))
    assert documented == set(_settings_of_the_written_file())
    assert "containers[].id" in documented


def _settings_of_the_written_file() -> Iterator[str]:
    """The keys in the file that `init` writes, live or as comments."""
    table = ""
    for line in to_toml({}).splitlines():
        if head := re.fullmatch(r"#?(\[\[?)([\w.]+)\]\]?", line):
            table = head[2] + ("[]." if head[1] == "[[" else ".")
        elif key := re.match(r"#?(\w+) =", line):
            yield table + key[1]


def _subparsers() -> Iterator[tuple[str, list[str]]]:
    """Each command, as `wallet pay create`, with its options."""
    waiting = list(parsers.subparsers(make_parser(())).items())
    while waiting:
        name, parser = waiting.pop()
        taken = [
            action.option_strings or [str(action.metavar)] for action in parsers.options(parser)
        ]
        yield name, [option for options in taken for option in options]
        waiting += [(f"{name} {below}", each) for below, each in parsers.subparsers(parser).items()]


def test_every_command_and_every_option_is_documented() -> None:
    page = COMMANDS_PAGE.read_text()
    commands = dict(_subparsers())
    assert set(COMMANDS) < commands.keys()
    assert {"wallet pay create", "service upgrade"} < commands.keys()
    for command, options in commands.items():
        level = "##" if command in COMMANDS else "###"
        text = words(markdown.section(page, f"{level} `infernet-edge {command}`"))
        assert [
            option for option in options if f"`{option}" not in text and f" {option}" not in text
        ] == []


def test_every_exit_code_is_documented() -> None:
    constants = vars(command_line)
    codes = {constants[name] for name in ("OK", "FAILURE", "USAGE", "BAD_CONFIGURATION")}
    table = markdown.section(COMMANDS_PAGE.read_text(), "## Exit codes")
    assert codes < {int(row[0]) for row in markdown.rows(table)}


async def test_every_endpoint_is_documented(tmp_path: Path) -> None:
    headings = set(re.findall(r"^## `(.+)`$", (DOCS / "api.md").read_text(), re.M))
    async with running(tmp_path, {}) as node:
        routes = [route for route in Api(node.parts).routes if isinstance(route, Route)]
    pages = (INDEX, FILES)  # of the dashboard, which is no part of the API
    served = {
        f"{method} {route.path_format}"
        for route in routes
        for method in route.methods or ()
        if route.path not in pages
    }
    assert {each for each in served if not each.startswith("HEAD ")} == headings


def test_every_check_of_doctor_is_documented() -> None:
    table = markdown.section((DOCS / "troubleshooting.md").read_text(), "## The checks of doctor")
    documented = {row[0].strip("`") for row in markdown.rows(table)}
    assert {check.NAME for check in CHECKS} == documented


def test_every_error_of_the_api_is_documented() -> None:
    page = (DOCS / "api.md").read_text()
    table = markdown.rows(markdown.section(page, "## Errors"))
    documented = {row[0] for row in table if len(row) == 3}
    kinds = [errors.ApiError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert {str(kind.status) for kind in kinds} == documented


def test_every_guard_rule_is_documented() -> None:
    page = words((DOCS / "api.md").read_text())
    modules = "jobs/guardian", "chain/guard/rules", "chain/guard/signer", "chain/chain", "api/jobs"
    sources = [PACKAGE / f"{module}.py" for module in modules]
    texts = [
        text for each in sources for text in re.findall(r'Refused\(\s*"([^"]+)"', each.read_text())
    ]
    assert len(texts) > 8
    assert [text for text in texts if text not in page] == []


def test_every_state_is_documented() -> None:
    page = (DOCS / "on-chain.md").read_text()
    states = {state for row in markdown.rows(page) for state in markdown.codes(row[0])}
    stored = {*get_args(record.DeliveryState), *get_args(subscriptions.SubscriptionState)}
    assert {*stored, record.ANSWERED} == states
    architecture = ARCHITECTURE.read_text()
    assert {each.name for each in InFlightState} <= set(markdown.codes(architecture))
    assert {*states, *STATUS_NAMES} <= set(markdown.codes(architecture))


# What is shown works.


def command_lines(text: str) -> Iterator[list[str]]:
    """The arguments of each `infernet-edge` in blocks for the shell, and in the text."""
    shown = [block.text for block in markdown.blocks(text) if block.kind == "sh"]
    lines = [line for each in shown for line in each.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^#.*$", "", markdown.without_blocks(text), flags=re.M)
    pattern = r"(sudo |\w+=\S+ )*infernet-edge "
    lines += [code for code in markdown.codes(prose) if re.match(pattern, code)]
    for line in filter(lambda each: "infernet-edge" in each, lines):
        reader = shlex.shlex(line, posix=True, punctuation_chars=True)
        reader.whitespace_split = True
        command: list[str] = []
        for token in [*reader, "&&"]:
            if token in ("&&", ";", "|", "||", ">"):
                while command and (command[0] == "sudo" or "=" in command[0]):
                    command = command[1:]
                if command and Path(command[0]).name == "infernet-edge":
                    yield command[1:]
                command = []
            else:
                command.append(token)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_line_is_valid(page: Path) -> None:
    for arguments in command_lines(page.read_text()):
        if arguments[:1] in (["COMMAND"], ["--help"], ["--version"]):
            continue
        if arguments[-1] == "--help":
            assert arguments[0] in COMMANDS
            continue
        try:
            make_parser(arguments).parse_args(arguments)
        except SystemExit:
            pytest.fail(f"not a valid command: infernet-edge {' '.join(arguments)}")


def test_symptoms_are_texts_of_the_node() -> None:
    """As users search for them; those of the system are its own."""
    others = r"failed to map|version 'GLIBC_"
    trees = [ast.parse(module.read_text()) for module in PACKAGE.rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    texts = "\0".join(node.value for node in nodes if isinstance(node.value, str))
    texts += (ROOT / "pyinstaller.spec").read_text()  # those that it gives to the launcher
    table = markdown.rows((DOCS / "troubleshooting.md").read_text())
    symptoms = [code for row in table if len(row) == 3 for code in markdown.codes(row[0])]
    shown = [code for code in symptoms if " " in code and not re.match(others, code)]
    assert len(shown) > 12
    for code in shown:
        parts = [part.strip(" :") for part in code.split("…")]
        assert any(len(part) > 8 and part in texts for part in parts), code


def test_wrong_command_lines_are_found() -> None:
    text = (
        "```sh\nsudo ./infernet-edge run --confg x && infernet-edge demo\n```\n"
        "and `infernet-edge walk`"
    )
    assert list(command_lines(text)) == [["run", "--confg", "x"], ["demo"], ["walk"]]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_example_in_json_and_toml_is_valid(page: Path) -> None:
    for kind, text, _ in markdown.blocks(page.read_text()):
        if kind not in ("json", "toml"):
            continue
        document = msgspec.json.decode(text) if kind == "json" else tomllib.loads(text)
        if isinstance(document, dict) and "subscription" in document:
            assert parse_request(text.encode()).signature.nonce == 1
        if isinstance(document, dict) and document.keys() <= set(Config.__struct_fields__):
            # Files of secrets and a schema, which are not on this machine.
            secrets = {"chain.wallet.private_key", "docker.password", "containers[0].env_file"}
            secrets |= {"server.tokens.phone", "server.tokens.lab.file"}
            secrets |= {"containers[0].headers.X-Api-Key", "containers[0].input_schema"}
            assert mistakes(document) <= {"chain.registry_address", *secrets}


def mistakes(document: dict[str, Any]) -> set[str]:
    """The keys in which a configuration has mistakes, and its warnings."""
    try:
        return set(build(document, "example", {})[1])
    except ConfigurationError as error:
        return {problem.path for problem in error.problems}


def test_wrong_examples_are_found() -> None:
    assert mistakes({"server": {"port": "x"}}) == {"server.port"}
    assert any("prot" in warning for warning in mistakes({"server": {"prot": 1}}))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in markdown.links(page.read_text()):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        if anchor:
            assert anchor in markdown.anchors(target.read_text()), link


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name_of
)
def test_every_path_exists(page: Path) -> None:
    """Paths in backquotes, below the package or the repository."""
    for_developers = page == ARCHITECTURE or ".github" in page.parts
    for code in markdown.codes(page.read_text()):
        if (not for_developers and "/" not in code) or code.startswith("dist/"):
            continue
        if re.fullmatch(r"[\w.][\w./-]*(\.py|\.spec|\.md|\.service|\w/)", code):
            assert (PACKAGE / code).exists() or (ROOT / code).exists(), code


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_settings_that_pages_name_exist(page: Path) -> None:
    """Such as `server.port`, and `containers[].gpu`."""
    known = {name for name, _ in reference.settings()}
    groups = {name.split(".")[0].removesuffix("[]") for name in known if "." in name}
    events = {*described(), *described_for_clients()}
    for code in markdown.codes(page.read_text()):
        match = re.fullmatch(r"([a-z]+)((?:\[\])?(?:\.[a-z_]+)+)(?: = .*)?", code)
        if (
            match
            and match[1] in groups
            and code not in events
            and not code.endswith((".py", ".json", ".toml", ".md", ".service"))
        ):
            name = match[1] + match[2]
            assert any(
                each == name or each.startswith(f"{name}.") or name.startswith(f"{each}.")
                for each in known
            ), code


# The architecture.


def test_every_name_is_where_the_architecture_lists_it() -> None:
    table = markdown.rows(markdown.section(ARCHITECTURE.read_text(), "## Where is ...?"))
    assert len(table) > 20
    for _, file, name in table:
        source = (PACKAGE / file.strip("`")).read_text()
        assert re.search(rf"\b{re.escape(name.strip('`'))}\b", source), (file, name)


def _layers() -> dict[str, set[str]]:
    """Package -> what it may import, by the tables of the architecture."""
    text = markdown.section(ARCHITECTURE.read_text(), "## Layers")
    table = [row for row in markdown.rows(text) if len(row) == 3]
    return {
        row[0].strip("`").rstrip("/"): {"all"} if row[2] == "all" else set(markdown.codes(row[2]))
        for row in table
    }


def _foundation() -> set[str]:
    text = markdown.section(ARCHITECTURE.read_text(), "## Layers")
    return {
        code.removesuffix(".py") for code in markdown.codes(text) if re.fullmatch(r"\w+\.py", code)
    }


def _imported(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _unit(parts: tuple[str, ...]) -> str:
    """The package of a module: `jobs`, `chain/rpc`, or the name of a module at the top."""
    if parts[:1] == ("chain",) and len(parts) > 2 and (PACKAGE / "chain" / parts[1]).is_dir():
        return f"chain/{parts[1]}"
    return parts[0].removesuffix(".py")


def test_packages_import_what_the_architecture_allows() -> None:
    layers, below = (
        _layers(),
        _foundation() | {"config", "events", "json_schema", "metrics", "statistics", "storage"},
    )
    found = []
    for module in PACKAGE.rglob("*.py"):
        unit = _unit(module.relative_to(PACKAGE).parts)
        if unit == "substitutes":  # of libraries, in the executable
            continue
        if unit in ("__init__", "__main__", *below) or layers[unit] == {"all"}:
            continue
        for name in _imported(module):
            first, *parts = name.split(".")
            if (
                first != "infernet_edge"
                or not (PACKAGE / parts[0]).is_dir() | (PACKAGE / f"{parts[0]}.py").is_file()
            ):
                continue
            other = _unit((*parts, ""))
            allowed = {unit, *layers[unit], *below}
            # From outside chain is one package; what is in it itself puts its packages together.
            if "chain" in allowed:
                other = other.partition("/")[0]
            if other not in allowed:
                found.append(f"{name_of(module)} imports {other}")
    assert found == []


def test_the_architecture_names_every_package_and_module_at_the_top() -> None:
    there = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    there |= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    there |= {f"chain/{path.parent.name}" for path in PACKAGE.glob("chain/*/__init__.py")}
    assert there <= _layers().keys() | _foundation()


# Each fact in one file.


@pytest.mark.parametrize(
    "page",
    [
        p
        for p in PAGES
        if p not in (REQUIREMENTS, BENCHMARKS)
        and p.name != "CHANGELOG.md"
        and "decisions" not in p.parts
    ],
    ids=name_of,
)
def test_sizes_and_versions_are_in_one_document(page: Path) -> None:
    """Benchmarks, decisions and the changelog are of their date."""
    pattern = (
        r"(?:glibc|Podman|Python|Debian|Ubuntu|Linux|JetPack|Raspberry Pi OS) \d[\d.]*|\d+ MB\b"
    )
    assert re.findall(pattern, words(page.read_text())) == []


def test_the_versions_are_those_of_the_code() -> None:
    text = words(REQUIREMENTS.read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    minimum = project["requires-python"].removeprefix(">=")
    assert f"Python {minimum} or newer; {minimum}, " in text
    assert f"| Podman | {OLDEST}.0 or newer" in text
    limits = (ROOT / "tests/executable/test_contents.py").read_text()
    size = re.search(r"^_MOST = ([\d_]+)  # bytes", limits, re.M)
    glibc = re.search(r"^_GLIBC = \((\d+), (\d+)\)", limits, re.M)
    assert size
    assert glibc
    assert f"glibc {glibc[1]}.{glibc[2]} or newer" in text
    assert f"at most {int(size[1].replace('_', '')) // 10**6} MB" in text


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 120
    linked = {Path(link.partition("#")[0]).name for link in markdown.links(text)}
    tables = {"limits.md", "events.md"}  # reference tables; other pages link to them
    assert {page.name for page in DOCS.glob("*.md")} - tables <= linked


def test_ci_runs_the_command_of_the_readme() -> None:
    text = README.read_text()
    shown = markdown.section(text, "## For developers")
    command = next(block.text for block in markdown.blocks(shown) if block.kind == "sh").split()
    assert (ROOT / command[0]).exists()
    ci = (ROOT / ".ci/run").read_text()
    assert re.search(rf"{command[0]}\W* {command[1]}\b", ci)


def test_the_release_is_built_by_the_scripts_of_the_tests() -> None:
    text = (ROOT / ".github/workflows/release.yml").read_text()
    for script, named in (
        ("tests/executable/build_arm64", "run: tests/executable/build_arm64"),
        ("tests/setup", "$(tests/setup)"),
        ("tests/support/executable.py", "from tests.support.executable import built"),
    ):
        assert (ROOT / script).exists()
        assert named in text
    assert "dist/arm64" in (ROOT / "tests/executable/build_arm64").read_text()
    # As `service upgrade` searches it.
    assert '"$file.sha256"' in text


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    """https://keepachangelog.com/en/1.1.0/"""
    heads = re.findall(r"^(##+) (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert heads
    for level, title in heads:
        if level == "##":
            assert re.fullmatch(
                r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d|unreleased)|\[Unreleased\]", title
            )
        else:
            assert level == "###"
            assert title in kinds
