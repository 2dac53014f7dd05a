"""`infernet-edge init`, from flags and, on a terminal of its own, with questions."""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from pathlib import Path

import pytest

from infernet_edge.cli import init
from infernet_edge.config import load
from infernet_edge.config.model import Config
from tests.support.terminal import on_a_terminal


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to write into, and no terminal to ask on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INFERNET_CONFIG_PATH", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    return tmp_path


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    init.configure(parser)
    return init.run(parser.parse_args(["--yes", *arguments]))


def loaded(path: str) -> Config:
    config, warnings, _ = load(Path(path), {})
    assert not warnings
    return config


def test_from_flags(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--port", "4100", "--host", "127.0.0.1"]
    flags += ["--image", "docker.io/library/one:1", "--url", "http://10.0.0.5:3000"]
    assert (
        run(
            *flags,
            "--image",
            "two@sha256:abababababababababababababababababababababababababababababababab",
            "--id",
            "first",
        )
        == 0
    )
    config = loaded("config.toml")
    assert (config.server.host, config.server.port) == ("127.0.0.1", 4100)
    shown = [(each.id, each.image, each.url, each.port) for each in config.containers]
    assert shown == [
        ("first", "docker.io/library/one:1", "", 3000),
        ("10.0.0.5", "", "http://10.0.0.5:3000", 3000),
        (
            "two",
            "two@sha256:abababababababababababababababababababababababababababababababab",
            "",
            3001,
        ),
    ]
    printed = capsys.readouterr().out
    assert "infernet-edge check    #" in printed
    assert printed.endswith("infernet-edge run\n")


def test_without_flags_it_is_the_defaults() -> None:
    assert run() == 0
    (Path("empty.json")).write_text("{}")
    assert loaded("config.toml") == loaded("empty.json")
    live = [line for line in Path("config.toml").read_text().splitlines() if line[:1].isalpha()]
    assert not live


def test_json_is_found_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--format", "json", "--image", "localhost/a", "--port", "4001") == 0
    assert json.loads(Path("config.json").read_text())["containers"][0]["id"] == "a"
    assert "--config" not in capsys.readouterr().out
    assert load(None, {}).config.server.port == 4001


def test_the_answer_as_json(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--image", "alpine", "--token", "laptop", "--json") == 0
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert answer["configuration"] == str(elsewhere / "config.toml")
    assert answer["containers"] == ["alpine"]
    token = answer["token"]
    assert (token["name"], token["scope"]) == ("laptop", "operator")
    assert token["link"].endswith(f"#token={token['token']}")
    assert printed.err == ""  # a log may keep it
    assert run("--json") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "--force" in printed.err
    assert run("--json", "--force") == 0
    assert json.loads(capsys.readouterr().out)["token"] is None


def test_only_the_owner_can_read_it() -> None:
    umask = os.umask(0)
    try:
        assert run("--output", "new/folder/config.toml") == 0
    finally:
        os.umask(umask)
    assert Path("new/folder/config.toml").stat().st_mode & 0o777 == 0o600
    assert [each.name for each in Path("new/folder").iterdir()] == ["config.toml"]


def test_a_file_is_replaced_only_by_force(capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.toml").write_text("mine")
    assert run() == 1
    assert "--force" in capsys.readouterr().err
    assert Path("config.toml").read_text() == "mine"
    assert run("--force") == 0
    assert tomllib.loads(Path("config.toml").read_text())
    assert Path("config.toml").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--output", "config.yaml"], ".toml"),
        (["--output", "config.json", "--format", "toml"], ".toml"),
        (["--id", "lonely"], "--image"),
        (["--port", "70000"], "server.port"),
        (["--image", "a", "--id", "not good"], "containers[0].id"),
        (["--image", "a", "--image", "a"], "containers[1].id"),
        (["--url", "ftp://somewhere"], "containers[0].url"),
    ],
)
def test_flags_that_cannot_be_are_refused(
    flags: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*flags) == 2
    assert word in capsys.readouterr().err
    assert not list(Path().iterdir())


def test_a_path_that_cannot_be_written_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("")
    assert run("--output", "file/config.toml") == 1
    assert "--output" in capsys.readouterr().err


def test_questions_on_a_terminal(elsewhere: Path) -> None:
    answers = ["http\n", "4200\n", "perhaps\n", "n\n", "n\n", "ftp://x\n", "docker.io/me/cat:2\n"]
    code, screen = on_a_terminal([*answers, "no good\n", "\n"], "init")
    assert code == 0, screen
    assert screen.count("Port of the REST API [4000]: ") == 2
    assert "Its name in jobs [cat]: " in screen
    config = loaded("config.toml")
    assert (config.server.host, config.server.port) == ("127.0.0.1", 4200)
    assert [(each.id, each.image) for each in config.containers] == [("cat", "docker.io/me/cat:2")]


def test_enter_takes_the_defaults(elsewhere: Path) -> None:
    code, screen = on_a_terminal(["\n", "\n", "\n", "\n"], "init")
    assert code == 0, screen
    assert "no container yet" in screen
    assert loaded("config.toml").server.host == "0.0.0.0"


def test_only_what_no_flag_says_is_asked(elsewhere: Path) -> None:
    flags = ["--port", "4300", "--url", "http://box:3000", "--id", "box", "--no-token"]
    code, screen = on_a_terminal(["y\n"], "init", *flags)
    assert code == 0, screen
    assert screen.count("]: ") == 1
    assert loaded("config.toml").server.port == 4300


# A Ctrl+C just before Python reads would go unnoticed until the line ends.
@pytest.mark.parametrize("end", ["\x04", "\x03\n"], ids=["end of input", "Ctrl+C"])
def test_leaving_in_the_middle_writes_nothing(elsewhere: Path, end: str) -> None:
    code, screen = on_a_terminal(["4000\n", end], "init", "--output", "other.toml")
    assert code == 1, screen
    assert "Nothing was written" in screen
    assert not Path("other.toml").exists()
