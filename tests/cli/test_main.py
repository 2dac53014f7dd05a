"""The command line: its commands, exit codes and texts."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from infernet_edge import INFERNET_VERSION, __version__
from infernet_edge.cli import main as command_line
from infernet_edge.cli.main import COMMANDS, main, make_parser, module_of
from tests.support import completion
from tests.support.parsers import subparsers
from tests.support.process import ROOT


def exits(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_help_lists_every_command_and_the_exit_codes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert exits("--help") == 0
    output = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"\n    {command}\s", output)
    places = [output.index(f"\n    {command} ") for command in COMMANDS]
    assert places == sorted(places)
    for word in ("demo", "0 success", "1 failure", "2 wrong usage", "78 configuration errors"):
        assert word in output
    assert all(len(line) <= 80 for line in output.splitlines())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert exits(command, "--help") == 0
    output = capsys.readouterr().out
    assert output.startswith(f"usage: infernet-edge {command}")
    assert [line for line in output.splitlines() if len(line) > 80] == []
    assert re.search(rf"\nExamples:\n\n  .*\binfernet-edge {command}\b", output)


WITHOUT_JSON = {"demo", "run", "completion"}
"""What runs until it is stopped and has no answer (its log in log.path is JSON), and a script."""


def test_all_others_print_json() -> None:
    assert {
        place.path
        for place in completion.places()
        if not place.commands and not any("--json" in each.names for each in place.options)
    } == WITHOUT_JSON


def examples() -> list[tuple[str, ...]]:
    """The arguments in the examples of all commands."""
    shown = subparsers(make_parser(())).values()
    lines = [line for each in shown for line in str(each.epilog).split("\n\n")[1].splitlines()]
    found = [re.search(r"\binfernet-edge ([^|>)]*)", line) for line in lines]
    return [tuple(shlex.split(each[1])) for each in found if each]


@pytest.mark.parametrize("example", examples(), ids=" ".join)
def test_the_examples_are_valid(example: tuple[str, ...]) -> None:
    assert make_parser(example).parse_args(example).command == example[0]


@pytest.mark.parametrize(
    "arguments", [(), ("walk",), ("run", "--no-such-thing"), ("run", "x"), ("jobs", "--limit", "x")]
)
def test_wrong_usage(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert exits(*arguments) == 2
    output = capsys.readouterr().err
    assert output.startswith("usage: infernet-edge")
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "arguments",
    [
        "submit writer --wait 3 {} --json",
        "submit --wait 3 writer {} --json",
        "submit --json writer {} --wait 3",
    ],
)
def test_options_stand_in_any_place(arguments: str) -> None:
    words = arguments.split()
    parsed = make_parser(words).parse_args(words)
    assert (parsed.containers, parsed.data, parsed.wait) == (["writer"], "{}", 3)


def test_many_arguments_with_options_between() -> None:
    for words in (["wait", "a", "--json", "b"], ["containers", "restart", "--json", "a", "b"]):
        assert make_parser(words).parse_args(words).ids[-1] == "b"
    words = ["jobs", "--limit", "3", "an-id"]
    assert make_parser(words).parse_args(words).id == "an-id"
    words = ["wallet", "pay", "approve", "--token", "0x" + 40 * "1", "5"]
    assert make_parser(words).parse_args(words).amount.value == 5


def test_versions(capsys: pytest.CaptureFixture[str]) -> None:
    assert exits("--version") == 0
    assert capsys.readouterr().out == f"infernet-edge {__version__}\n"
    assert main(["version"]) == 0
    output = capsys.readouterr().out
    assert f"infernet-edge {__version__} (speaks Infernet {INFERNET_VERSION})" in output
    assert "Python 3." in output
    assert "SQLite 3." in output
    assert main(["version", "--json"]) == 0
    versions = json.loads(capsys.readouterr().out)
    assert versions["version"] == __version__
    assert versions["infernet"] == INFERNET_VERSION
    assert versions.keys() == {"version", "infernet", "python", "sqlite", "system", "machine"}


@pytest.mark.parametrize(
    ("raised", "code"), [(KeyboardInterrupt, 130), (None, 7)], ids=["Ctrl+C", "its own"]
)
def test_the_exit_code_is_the_commands(
    monkeypatch: pytest.MonkeyPatch, raised: type[BaseException] | None, code: int
) -> None:
    def run(arguments: object) -> int:
        if raised:
            raise raised
        return 7

    real = importlib.import_module

    def module(name: str) -> object:
        found = real(name)
        return SimpleNamespace(**vars(found) | {"run": run}) if name.endswith("version") else found

    monkeypatch.setattr(importlib, "import_module", module)
    assert main(["version"]) == code


@pytest.mark.parametrize("form", [["--url", "http://pi:4000"], ["--url=http://pi:4000"]])
@pytest.mark.parametrize(
    "command", ["backup", "restore", "token", "check", "export", "doctor", "service", "wallet"]
)
def test_commands_without_a_url_say_why(
    command: str, form: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, *form, "list"])
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{command} has no --url: " in said
    assert f"ssh MACHINE infernet-edge {command}" in said


def infernet_edge(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infernet_edge", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def test_as_a_process() -> None:
    assert infernet_edge("version").returncode == 0
    wrong = infernet_edge("walk")
    assert wrong.returncode == 2
    assert "walk" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("version",), 0),
        (("--help",), 0),
        (("help", "limits"), 0),
        (("check", "--config", "absent.json"), 78),
        (("check", "--json", "--config", "absent.json"), 78),
        (("service", "uninstall", "--dry-run"), 0),
    ],
)
def test_a_reader_that_has_enough_is_no_mistake(arguments: tuple[str, ...], code: int) -> None:
    """As with `infernet-edge version | true`."""
    done = run_unread(*arguments)
    assert "Broken" not in done.stderr
    assert done.returncode == code


def test_work_continues_when_nobody_reads_its_progress(tmp_path: Path) -> None:
    """As with `sudo infernet-edge service install | head -1`."""
    program = (
        "from pathlib import Path; import sys\n"
        "from infernet_edge.cli.output import print_progress\n"
        "print_progress('one'); print_progress('two'); Path(sys.argv[1]).touch()"
    )
    done = run_unread(str(tmp_path / "done"), command=(sys.executable, "-c", program))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "done").exists()


def run_unread(
    *arguments: str, command: tuple[str, ...] = (sys.executable, "-m", "infernet_edge")
) -> subprocess.CompletedProcess[str]:
    """Run a command whose stdout is a pipe that was closed by its reader."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            [*command, *arguments],
            cwd=ROOT,
            env={key: text for key, text in os.environ.items() if key != "PYTHONUNBUFFERED"},
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)


def test_asking_for_help_imports_none_of_the_node() -> None:
    """A command line that thinks for a second is no fun on a small machine."""
    program = (
        "import sys\nfrom infernet_edge.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'aiohttp', 'uvicorn', 'starlette', 'podman', 'eth_account', 'uvloop'}\n"
        "print('imported:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("imported: []\n")


def test_a_command_imports_no_other() -> None:
    """What the node imports it holds for as long as it runs."""
    program = (
        "import sys\nfrom infernet_edge.cli.main import COMMANDS, main, module_of\n"
        "try: main(['run', '--help'])\nexcept SystemExit: pass\n"
        "print([name for name in COMMANDS if module_of(name) in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("\n['run']\n")


def test_commands_and_modules_are_the_same() -> None:
    folder = Path(command_line.__file__).parent
    modules = {file.stem for file in folder.iterdir()}
    assert {module_of(command).rpartition(".")[2] for command in COMMANDS} <= modules


def without_account(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user without an account and without HOME."""
    return subprocess.run(
        [
            *("unshare", "--user", "--map-user=54321"),
            *(sys.executable, "-m", "infernet_edge", *arguments),
        ],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "command",
    [
        *("check", "run", "doctor", "status", "jobs", "wallet show", "wallet pay show"),
        "wallet new --output key.json",
    ],
)
def test_without_a_home_every_command_says_what_to_do(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.json").write_text("{}")
    output = without_account(*command.split())
    assert output.returncode == 78, output.stderr
    assert "HOME is not set" in output.stdout + output.stderr
    assert "set storage.path" in output.stdout + output.stderr
    assert "Traceback" not in output.stderr


def test_without_a_home_a_path_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.json").write_text("{}")
    storage = {"INFERNET_EDGE_STORAGE__PATH": str(tmp_path / "data")}
    for command, code in (("check", 0), ("status", 1), ("jobs", 1), ("wallet show", 1)):
        output = without_account(*command.split(), **storage)
        assert output.returncode == code, output.stderr
        assert "Traceback" not in output.stderr
    assert without_account("version").returncode == 0
    output = without_account("init", "--yes")
    assert (output.returncode, output.stderr) == (0, "")
    assert Path("config.toml").exists()


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_names_that_the_terminal_cannot_show(tmp_path: Path, encoding: str) -> None:
    file = os.fsencode(tmp_path) + b"/caf\xe9-\xc3\xa4.json"
    Path(os.fsdecode(file)).write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "infernet_edge", "check", "--config", file],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"/caf\\udce9-" in done.stdout
