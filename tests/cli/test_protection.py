"""The token that `init` makes, and the link that has it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from infernet_edge.cli.main import main
from infernet_edge.storage.token_file import FILE_NAME, StoredTokens, TokenFile, hash_of
from tests.support.node import NodeProcess
from tests.support.terminal import on_a_terminal

LINK = re.compile(r"^  (http://127\.0\.0\.1:4000/)#token=(iet_\S+)$", re.M)
HERE = ("--host", "127.0.0.1")
QUESTION = "Protect it with a token, so that only you can use it? (yes/no) [yes]: "


@pytest.fixture(autouse=True)
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a node of this user keeps its data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("INFERNET_CONFIG_PATH", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    return tmp_path / "share/infernet-edge"


def stored(folder: Path) -> StoredTokens:
    return TokenFile(folder).read()


def files_with(text: str, folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file() and text in each.read_text()]


def test_yes_on_a_terminal(storage: Path, tmp_path: Path) -> None:
    code, screen = on_a_terminal(["\n", "\n"], "init", *HERE, "--port", "4000")
    assert code == 0, screen
    assert QUESTION in screen
    found = LINK.search(screen)
    assert found is not None, screen
    token = found[2]
    assert screen.count(token) == 1
    (made,) = stored(storage).valid
    assert (made.name, made.scope, made.expires_at) == ("owner", "operator", None)
    assert made.hash == hash_of(token.encode())
    assert files_with(token, tmp_path) == []
    assert "--config" not in screen
    assert max(map(len, screen.splitlines())) <= 80


def test_no_on_a_terminal(storage: Path) -> None:
    answers = ["maybe\n", "no\n", "\n"]
    code, screen = on_a_terminal(answers, "init", *HERE, "--port", "4000")
    assert code == 0, screen
    assert screen.count(QUESTION) == 2
    assert "#token" not in screen
    assert "  infernet-edge token new owner --scope operator\n" in screen
    assert not storage.exists()


@pytest.mark.parametrize("flag", [["--token", "laptop"], ["--no-token"]])
def test_a_flag_answers_the_question(storage: Path, flag: list[str]) -> None:
    code, screen = on_a_terminal(["\n"], "init", *HERE, "--port", "4000", *flag)
    assert code == 0, screen
    assert QUESTION not in screen
    names = [each.name for each in stored(storage).valid]
    assert names == flag[1:]


@pytest.mark.parametrize(
    ("flags", "names"),
    [([], []), (["--no-token"], []), (["--token"], ["owner"]), (["--token", "pc"], ["pc"])],
)
def test_without_a_terminal(
    storage: Path, capsys: pytest.CaptureFixture[str], flags: list[str], names: list[str]
) -> None:
    """The node stays open unless a flag says otherwise, as for scripts made before."""
    assert main(["init", "--yes", *HERE, *flags]) == 0
    out = capsys.readouterr().out
    assert [each.name for each in stored(storage).valid] == names
    assert bool(LINK.search(out)) is bool(names)
    assert ("Protect it with a token" in out) is not bool(names)
    assert storage.exists() is bool(names)


@pytest.mark.parametrize(
    "flags", [["--token", "a b"], ["--token=", "x"], ["--token", "--no-token"]]
)
def test_wrong_flags(storage: Path, flags: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["init", "--yes", *flags])
    assert ended.value.code == 2
    assert not storage.exists()
    assert not Path("config.toml").exists()


def test_a_second_init_keeps_the_tokens(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--yes", *HERE, "--token"]) == 0
    before = (storage / FILE_NAME).read_bytes()
    capsys.readouterr()
    assert main(["init", "--yes", "--force", *HERE]) == 0
    assert "asks for a token: those that were made before stay valid" in capsys.readouterr().out
    code, screen = on_a_terminal(["\n"], "init", "--force", *HERE, "--port", "4000")
    assert code == 0, screen
    assert QUESTION not in screen
    assert "stay valid (owner)" in screen
    assert (storage / FILE_NAME).read_bytes() == before
    assert main(["init", "--yes", "--force", *HERE, "--token", "phone"]) == 0
    assert [each.name for each in stored(storage).valid] == ["owner", "phone"]


def test_a_name_that_is_taken_changes_nothing(
    storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--yes", *HERE, "--token"]) == 0
    before = (storage / FILE_NAME).read_bytes(), Path("config.toml").read_bytes()
    assert main(["init", "--yes", "--force", "--port", "4999", "--token"]) == 1
    error = capsys.readouterr().err
    assert "There is a token owner already" in error
    assert "Nothing was written" in error
    assert before == ((storage / FILE_NAME).read_bytes(), Path("config.toml").read_bytes())


def test_a_damaged_file_is_not_replaced(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage.mkdir(parents=True)
    (storage / FILE_NAME).write_text("{")
    assert main(["init", "--yes", *HERE, "--token"]) == 1
    assert "--replace-damaged" in " ".join(capsys.readouterr().err.split())
    assert not Path("config.toml").exists()
    code, screen = on_a_terminal(["\n"], "init", *HERE, "--port", "4000")
    assert code == 0, screen
    assert QUESTION not in screen
    assert "Every token in it is refused" in " ".join(screen.split())


@pytest.mark.parametrize("kind", ["file", "name"])
def test_a_file_that_cannot_be_written_leaves_no_token(
    storage: Path, capsys: pytest.CaptureFixture[str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the folder nor, in the last moment, the name."""
    if kind == "file":
        Path("below").write_text("")
    else:
        Path("below").mkdir()
        real = Path.touch

        def touch(self: Path, mode: int = 0o666, exist_ok: bool = True) -> None:
            if self.name == "config.toml":
                raise FileExistsError
            real(self, mode, exist_ok)

        monkeypatch.setattr(Path, "touch", touch)
    assert main(["init", "--yes", *HERE, "--output", "below/config.toml", "--token"]) == 1
    assert "#token" not in capsys.readouterr().out
    assert stored(storage).valid == []


def test_a_storage_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    assert main(["init", "--yes", *HERE, "--token"]) == 78
    assert "storage.path" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_tokens_of_a_recipe_are_enough(
    tmp_path: Path, storage: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "node.json"
    config = {"server": {"tokens": {"bob": "0123456789abcdef"}}, "chain": {"enabled": False}}
    recipe.write_text(json.dumps({"config": config, "inputs": []}))
    code, screen = on_a_terminal(["\n"] * 3, "init", "--recipe", str(recipe), *HERE)
    assert code == 0, screen
    assert QUESTION not in screen
    assert "stay valid (bob)" in screen
    assert not storage.exists()


def test_a_node_that_runs_asks_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with NodeProcess({}, tmp_path / "node") as node:
        monkeypatch.setenv("INFERNET_EDGE_STORAGE__PATH", str(node.data_path))
        assert main(["init", "--yes", *HERE, "--token"]) == 0
        out = capsys.readouterr().out
        assert "runs, and asks for the token from now on" in out
        found = LINK.search(out)
        assert found is not None
        assert found[2] not in node.log()
        assert "token.created token=owner" in node.log()


@pytest.mark.parametrize("answered", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("end", ["\x04", "\x03\n"], ids=["end of input", "Ctrl+C"])
def test_leaving_at_any_question_leaves_nothing(tmp_path: Path, answered: int, end: str) -> None:
    answers = ["4000\n", "no\n", "yes\n", "docker.io/me/cat:2\n", "cat\n"][:answered]
    code, screen = on_a_terminal([*answers, end], "init")
    assert code == 1, screen
    assert screen.count("]: ") == answered + 1
    assert "Nothing was written" in screen
    assert list(tmp_path.iterdir()) == []


def test_help_explains_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["init", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "--token [NAME]" in out
    assert "--no-token" in out
    assert "infernet-edge init --yes --token laptop" in out
