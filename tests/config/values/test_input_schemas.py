from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.cli.main import main
from infernet_edge.config.errors import ConfigurationError
from infernet_edge.config.loading import load
from infernet_edge.config.values.json_files import MAX_JSON_FILE

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}


def written(folder: Path, **settings: Any) -> Path:
    """A configuration with one container."""
    file = folder / "config.json"
    container = {"id": "llm", "url": "http://10.0.0.5:8080", **settings}
    storage = {"path": str(folder / "data")}
    file.write_text(json.dumps({"containers": [container], "storage": storage}))
    return file


def schema_of(file: Path, environment: dict[str, str] | None = None) -> Any:
    return load(file, environment or {}).config.containers[0].input_schema


def problem_of(file: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        schema_of(file)
    (problem,) = caught.value.problems
    return str(problem)


def test_a_table(tmp_path: Path) -> None:
    assert schema_of(written(tmp_path)) is None
    assert schema_of(written(tmp_path, input_schema=SCHEMA)) == SCHEMA


def test_a_file_relative_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas/n.json").write_text("\ufeff" + json.dumps(SCHEMA))
    assert schema_of(written(tmp_path, input_schema="schemas/n.json")) == SCHEMA
    absolute = str(tmp_path / "schemas/n.json")
    assert schema_of(written(tmp_path, input_schema=absolute)) == SCHEMA


def test_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "INFERNET_EDGE_CONTAINERS__0__INPUT_SCHEMA"
    file = written(tmp_path)
    assert schema_of(file, {name: json.dumps(SCHEMA)}) == SCHEMA
    (tmp_path / "here").mkdir()
    (tmp_path / "here/n.json").write_text(json.dumps(SCHEMA))
    monkeypatch.chdir(tmp_path / "here")
    assert schema_of(file, {name: "n.json"}) == SCHEMA


def test_a_toml_table(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        f"""
        storage.path = "{tmp_path}/data"
        [[containers]]
        id = "llm"
        url = "http://10.0.0.5:8080"
        [containers.input_schema]
        type = "object"
        properties.n.type = "integer"
        """
    )
    assert schema_of(file) == SCHEMA


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file or directory"),
        (b"[]", "it is JSON, and not an object"),
        (b'{"type": ', "it is not JSON"),
        (b"\xff", "it is not UTF-8 text"),
        (b"[" * 5000, "it is nested too deeply"),
        (b'{"a": "' + b"x" * MAX_JSON_FILE + b'"}', "it is larger than 65536 bytes"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (tmp_path / "n.json").write_bytes(content)
    found = problem_of(written(tmp_path, input_schema="n.json"))
    assert found.startswith(f"containers[0].input_schema: found file {tmp_path}/n.json ({why}")
    assert "expected an object, or a file of at most 65536 bytes with one, as JSON" in found


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (5, "found a number, expected an object"),
        ({"type": "strng"}, 'found "strng" at /type, expected one of "null"'),
        (
            {"$schema": "http://json-schema.org/draft-04/schema#"},
            'at /$schema, expected "https://json-schema.org/draft/2020-12/schema" or "http',
        ),
        ({"properties": {"a": {"pattern": "(?=b)"}}}, "at /properties/a/pattern, expected a"),
        ({"$ref": "https://host.example/x.json"}, "others are never fetched"),
    ],
)
def test_schemas_that_are_not(tmp_path: Path, schema: Any, said: str) -> None:
    found = problem_of(written(tmp_path, input_schema=schema))
    assert found.startswith("containers[0].input_schema: ")
    assert said in found


def test_the_error_of_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "n.json").write_text('{"properties": {"n": {"type": "int"}}}')
    file = written(tmp_path, input_schema="n.json")
    assert main(["check", "--config", str(file)]) == 78
    found = capsys.readouterr().err
    assert 'containers[0].input_schema: found "int" at /properties/n/type, expected one' in found


def test_a_keyword_that_is_misspelled(tmp_path: Path) -> None:
    schema = {
        "requried": ["n"],
        "x-order": 1,
        "format": "uri",
        "properties": {"requried": {"enum": [{"maximun": 1}]}, "a/b": {"anyOf": [{"maximun": 5}]}},
    }
    warnings = load(written(tmp_path, input_schema=schema), {}).warnings
    assert warnings == [
        f"input_schema of container llm: the keyword at {place} is unknown and checks nothing"
        for place in ("/requried", "/properties/a~1b/anyOf/0/maximun")
    ]
    many = {"properties": {str(number): {"a": 1} for number in range(99)}}
    assert len(load(written(tmp_path, input_schema=many), {}).warnings) == 5
    assert load(written(tmp_path, input_schema=SCHEMA), {}).warnings == []
