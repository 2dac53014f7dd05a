"""`infernet-edge add-service` and `remove-service`: recipes become containers of a file."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from infernet_edge.cli.main import main
from infernet_edge.config import load
from infernet_edge.config.secret_files import Secret
from tests.support.process import ROOT
from tests.support.terminal import on_a_terminal

RECIPES = ROOT / "tests/fixtures/recipes"
CONFIG = "# my node\n[server]\nport = 3000 # mine\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, and no terminal."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("INFERNET_") or name in ("HF_TOKEN", "HF_INF_TOKEN", "OPENAI_API_KEY"):
            monkeypatch.delenv(name)
    (tmp_path / "config.toml").write_text(CONFIG)
    (tmp_path / "config.toml").chmod(0o600)
    return tmp_path


def add(recipe: str, *arguments: str) -> int:
    return main(["add-service", str(RECIPES / f"{recipe}.json"), *arguments])


GIVEN = {
    "hello-world": [],
    "css": ["--set-file", "OPENAI_API_KEY=secret"],
    "css-pathless": ["--set-file", "OPENAI_API_KEY=secret"],
    "onnx": ["--set", "ONNX_DEFAULT_MODEL_ID=a/b"],
    "torch": ["--set", "NUM_WORKERS=1"],
    "tgi": ["--set", "SERVICE_URL=http://10.0.0.1"],
    "tgi-1": ["--set", "TGI_SERVICE_URL=http://10.0.0.1", "--set-file", "HF_TOKEN=secret"],
    "hf-client": ["--set-file", "HF_INF_TOKEN=secret"],
    "openai-bare": ["--set-file", "OPENAI_API_KEY=secret"],
}


def test_every_service_of_the_registry(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    services = {file.stem for file in RECIPES.iterdir() if not file.stem.startswith("node-")}
    assert set(GIVEN) == services
    (folder / "secret").write_text("top-secret")
    (folder / "secret").chmod(0o600)
    for name, arguments in GIVEN.items():
        assert add(name, *arguments) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "top-secret" not in out + (folder / "config.toml").read_text()
    config, warnings, _ = load(None, {})
    assert warnings == []
    assert len(config.containers) == len(GIVEN)
    assert [each.port for each in config.containers] == list(range(3001, 3001 + len(GIVEN)))
    by_id = {each.id: each for each in config.containers}
    assert by_id["torch-inference-2.0.0"].command == "--bind=0.0.0.0:3000 --workers=1"
    assert by_id["torch-inference-2.0.0"].env == {"TORCH_USE_JIT": "false"}
    tgi = by_id["tgi-client-inference-2.0.0"].env["TGI_INF_WORKFLOW_POSITIONAL_ARGS"]
    assert tgi == '["http://10.0.0.1","30"]'
    args = by_id["tgi-client-inference-1.0.0"].env["TGI_INF_WORKFLOW_POSITIONAL_ARGS"]
    assert isinstance(args, Secret)
    assert json.loads(args.reveal())[2] == {"Authorization": "top-secret"}
    for name in ("css-inference", "css-inference-2.0.0", "openai-text-inference_0.0.1"):
        assert by_id[name].env["OPENAI_API_KEY"] == Secret("top-secret")
    assert add("hello-world", "--id", "second") == 0
    for name in [*by_id, "second"]:
        assert main(["remove-service", name]) == 0
    assert (folder / "config.toml").read_text() == CONFIG
    assert load(None, {}).config.containers == []
    assert (folder / "secret").exists()


def test_the_answer_as_json(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "top-secret")
    assert add("css", "--id", "answers", "--json") == 0
    printed = capsys.readouterr()
    added = json.loads(printed.out)
    assert added["container"] == "answers"
    assert added["configuration"] == str(folder / "config.toml")
    assert Path(added["previous"]).read_text() == CONFIG
    [secret] = added["secret_files"]
    assert Path(secret).read_text().strip() == "top-secret"
    assert "Added answers" in printed.err
    assert "top-secret" not in printed.out + printed.err
    assert main(["remove-service", "answers", "--json"]) == 0
    removed = json.loads(capsys.readouterr().out)
    assert removed["container"] == "answers"
    assert removed["secret_files"] == [secret]
    assert main(["remove-service", "answers", "--json"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "no container answers" in printed.err


def test_values_from_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_INF_TOKEN", "shadowed")
    monkeypatch.setenv("INFERNET_INPUT_HF_INF_TOKEN", "top-secret")
    monkeypatch.setenv("NUM_WORKERS", "7")
    assert add("hf-client", "--set", "NUM_WORKERS=3") == 0
    out = capsys.readouterr().out
    assert "HF_INF_TOKEN: a secret, from $INFERNET_INPUT_HF_INF_TOKEN" in out
    assert "NUM_WORKERS: 3 (from --set)" in out
    assert "top-secret" not in out
    (container,) = load(None, {}).config.containers
    assert container.env == {"HF_INF_TOKEN": Secret("top-secret")}
    assert container.command.endswith("--workers=3")
    (file,) = (folder / "secrets").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert (folder / "config.toml.bak").read_text() == CONFIG
    assert main(["remove-service", "hf-client-inference-2.0.0"]) == 0
    assert str(file) in capsys.readouterr().out
    assert file.exists()


def test_json_is_changed_too(folder: Path) -> None:
    (folder / "config.toml").unlink()
    (folder / "config.json").write_text('{\n    "server": {"port": 4001}\n}\n')
    assert add("hello-world", "--set", "env.LEVEL=debug", "--set", "memory=512m") == 0
    (container,) = load(None, {}).config.containers
    assert (container.env, container.memory, container.port) == ({"LEVEL": "debug"}, "512m", 3000)
    assert (folder / "config.json").read_text().startswith('{\n    "server"')


@pytest.mark.parametrize(
    ("recipe", "arguments", "code", "words"),
    [
        ("hf-client", [], 2, "HF_INF_TOKEN: found nothing, expected text (Token of Hugging Face)"),
        ("hf-client", [], 2, "as INFERNET_INPUT_HF_INF_TOKEN, with --set-file HF_INF_TOKEN=PATH"),
        ("hf-client", ["--set", "HF_INF_TOKEN=top-secret"], 2, "a secret on the command line"),
        ("hello-world", ["--set", "env.MY_TOKEN=top-secret"], 2, "a secret on the command line"),
        ("hello-world", ["--set", "bearer=top-secret"], 2, "a secret on the command line"),
        ("css", ["--set", "NUM_WORKERS=many"], 2, 'NUM_WORKERS: found "many" from --set, expected'),
        ("css", ["--set", "NUM_WORKERS"], 2, "--set NUM_WORKERS: found no =, expected"),
        ("css", ["--set", "WORKERS=1"], 2, "--set WORKERS: found no such input, expected one of"),
        ("css", ["--set-file", "OPENAI_API_KEY=none"], 2, "OPENAI_API_KEY: found file none (No "),
        ("hello-world", ["--set", "port=99999"], 2, "port: found 99999, expected a whole number"),
        ("hello-world", ["--id", "not good"], 2, 'id: found "not good", expected'),
        ("node-base", [], 2, "is the recipe of a node"),
        ("missing", [], 78, "no readable file"),
    ],
)
def test_errors_name_the_input(
    folder: Path,
    recipe: str,
    arguments: list[str],
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert add(recipe, *arguments) == code
    shown = capsys.readouterr()
    assert words in shown.err
    assert "top-secret" not in shown.err + shown.out
    assert sorted(each.name for each in folder.iterdir()) == ["config.toml"]
    assert (folder / "config.toml").read_text() == CONFIG


def test_what_is_no_recipe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["add-service", "config.toml"]) == 78
    assert "found no recipe, expected an object with the keys" in capsys.readouterr().err


def test_an_id_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert add("hello-world") == 0
    assert add("hello-world") == 1
    assert "--id, or remove it first" in capsys.readouterr().err
    assert main(["remove-service", "nothing"]) == 1
    assert "It has: hello-world." in capsys.readouterr().err


def test_without_a_configuration(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "config.toml").unlink()
    if Path("/etc/infernet-edge").exists():
        pytest.skip("this machine has a configuration")
    assert add("hello-world") == 1
    assert "infernet-edge init" in capsys.readouterr().err


def test_a_configuration_with_an_error_elsewhere_can_still_be_changed(folder: Path) -> None:
    (folder / "config.toml").write_text("[server]\nport = 99999\n")
    assert add("hello-world") == 0
    assert "99999" in (folder / "config.toml").read_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("containers = 5\n", "containers: found a number, expected a list"),
        ("containers = { a = 1 }\n", "containers: found an object, expected a list"),
        ("server = 'x'\n", "server: found text, expected an object"),
    ],
)
def test_another_form_of_the_configuration_is_refused(
    folder: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config.toml").write_text(text)
    assert add("hello-world") == 78
    assert words in capsys.readouterr().err
    assert main(["remove-service", "a"]) == 78
    assert words in capsys.readouterr().err
    assert (folder / "config.toml").read_text() == text


def test_only_ways_that_work_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The environment is for inputs of the recipe, not for other keys of its container."""
    assert add("hello-world", "--set", "env.MY_TOKEN=x") == 2
    shown = capsys.readouterr().err
    assert "give it with --set-file env.MY_TOKEN=PATH" in shown
    assert "INFERNET_INPUT_" not in shown


def test_a_link_stays_a_link(folder: Path) -> None:
    (folder / "config.toml").rename(folder / "real.toml")
    (folder / "config.toml").symlink_to("real.toml")
    assert add("hello-world") == 0
    assert (folder / "config.toml").is_symlink()
    assert "hello-world" in (folder / "real.toml").read_text()


def test_questions_on_a_terminal(folder: Path) -> None:
    """Secrets are not shown; wrong answers are asked again."""
    answers = ["\n", "top-secret\n", "x\n", "4\n"]
    code, screen = on_a_terminal(answers, "add-service", str(RECIPES / "hf-client.json"))
    assert code == 0, screen
    assert screen.count("HF_INF_TOKEN (not shown) [required]: ") == 2
    assert screen.count("NUM_WORKERS [2]: ") == 2
    assert "Please enter a whole number." in screen
    assert "top-secret" not in screen
    (container,) = load(None, {}).config.containers
    assert container.env == {"HF_INF_TOKEN": Secret("top-secret")}
    assert container.command.endswith("--workers=4")


def test_leaving_in_the_middle_changes_nothing(folder: Path) -> None:
    code, screen = on_a_terminal(["\x04"], "add-service", str(RECIPES / "hf-client.json"))
    assert code == 1, screen
    assert "Nothing was changed." in screen
    assert sorted(each.name for each in folder.iterdir()) == ["config.toml"]


def test_a_file_that_this_user_may_not_write(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "touch", refuse)  # root, who runs the tests, may write everywhere
    assert add("hello-world") == 1
    shown = capsys.readouterr().err
    assert "config.toml was not changed: Permission denied. Use sudo, or be the user" in shown
    assert (folder / "config.toml").read_text() == CONFIG


def test_the_protocol_of_a_recipe_for_a_server_of_another_kind(folder: Path) -> None:
    assert add("hello-world", "--protocol", "openai") == 0
    assert load(None, {})[0].containers[0].protocol == "openai"
    with pytest.raises(SystemExit) as ended:
        add("hello-world", "--id", "other", "--protocol", "grpc")
    assert ended.value.code == 2
