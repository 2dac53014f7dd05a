"""Loading one Config from a file, the environment and credentials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infernet_edge.config import ConfigurationError, load
from infernet_edge.config.loading import load_valid_parts
from infernet_edge.config.model import Registry
from infernet_edge.config.rendering import toml_value
from infernet_edge.config.secret_files import Secret

KEY = "0x" + "5c" * 32
ADDRESS = "0x" + "66" * 20

# A config.json of the reference node 1.4, with all its keys and their types.
REFERENCE: dict[str, Any] = {
    "log_path": "infernet_node.log",
    "manage_containers": True,
    "startup_wait": 1.0,
    "server": {"port": "4000", "rate_limit": {"num_requests": 100, "period": 100}},
    "redis": {"host": "redis", "port": 6379},
    "forward_stats": True,
    "docker": {"username": "someone", "password": "registry-password"},
    "chain": {
        "enabled": True,
        "trail_head_blocks": 0,
        "rpc_url": "http://host.docker.internal:8545",
        "registry_address": ADDRESS,
        "wallet": {
            "max_gas_limit": 4000000,
            "private_key": KEY,
            "payment_address": None,
            "allowed_sim_errors": ["not enough balance"],
        },
        "snapshot_sync": {
            "sleep": 3,
            "batch_size": 10000,
            "starting_sub_id": 180000,
            "sync_period": 30,
        },
    },
    "containers": [
        {
            "id": "hello-world",
            "image": "ritualnetwork/hello-world-infernet:latest",
            "external": True,
            "port": "3000",
            "allowed_delegate_addresses": [],
            "allowed_addresses": [],
            "allowed_ips": [],
            "command": "--bind=0.0.0.0:3000 --workers=2",
            "env": {},
            "volumes": [],
            "accepted_payments": {"0x" + "00" * 20: 1000000000000000000},
            "generates_proofs": False,
        },
        {
            "id": "elsewhere",
            "image": "",
            "url": "http://10.0.0.5:3000",
            "bearer": "bearer-token",
            "port": "3000",
            "gpu": True,
            "description": "",
            "env": {"MODEL": "a/b", "WORKERS": 2, "DEBUG": False},
        },
    ],
}
SECRETS = (KEY, KEY.removeprefix("0x"), "registry-password", "bearer-token")


def written(folder: Path, document: Any, name: str = "config.json") -> Path:
    file = folder / name
    file.write_text(json.dumps(document))
    file.chmod(0o600)
    return file


def refusal(file: Path, **environment: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as refused:
        load(file, environment)
    return refused.value


def test_a_configuration_of_the_reference_node_works_unchanged(tmp_path: Path) -> None:
    config, warnings, source = load(written(tmp_path, REFERENCE), {})
    assert source == tmp_path / "config.json"
    assert config.log.path == str(tmp_path / "infernet_node.log")
    assert config.server.port == 4000
    assert config.server.rate_limit.num_requests == 100
    assert config.docker.username == "someone"
    assert config.docker.password == Secret("registry-password")
    assert config.chain.rpc_url == "http://host.docker.internal:8545"
    assert config.chain.registry_address == ADDRESS
    assert config.chain.wallet.private_key == Secret(KEY)
    assert config.chain.wallet.payment_address is None
    assert config.chain.wallet.max_gas_limit == 4000000
    assert config.chain.snapshot_sync.batch_size == 10000
    assert config.chain.snapshot_sync.sync_period == 30
    first, second = config.containers
    assert first.port == 3000
    assert first.accepted_payments == {"0x" + "00" * 20: 10**18}
    assert second.bearer == Secret("bearer-token")
    assert second.env == {"MODEL": "a/b", "WORKERS": 2, "DEBUG": False}
    # Only warnings for the operator: none of its keys is unknown.
    assert [warning.split()[0] for warning in warnings] == ["redis", "forward_stats"]


def test_the_new_name_of_the_log_takes_precedence_over_the_old_one(tmp_path: Path) -> None:
    for log, expected in (({"path": "new"}, "new"), ({"backup_count": 5}, "old"), (None, "old")):
        file = written(tmp_path, {"log_path": "old", "log": log})
        assert load(file, {}).config.log.path == str(tmp_path / expected)
    error = refusal(written(tmp_path, {"log_path": "old", "log": 7}))
    assert [problem.path for problem in error.problems] == ["log"]


def test_no_secret_is_ever_shown(tmp_path: Path) -> None:
    config, warnings, _ = load(written(tmp_path, REFERENCE), {})
    shown = [repr(config), str(config), *warnings, repr(config.chain.wallet), f"{config.docker}"]
    broken = json.loads(json.dumps(REFERENCE))
    broken["server"]["port"] = "x"
    broken["chain"]["wallet"]["private_key"] = KEY[:-1]
    broken["docker"]["password"] = ["registry-password"]
    broken["containers"][1]["bearer"] = {"token": "bearer-token"}
    broken["containers"][1]["env"] = {"MODEL": ["registry-password"]}
    error = refusal(written(tmp_path, broken))
    assert len(error.problems) == 5
    shown += [str(error), repr(error), repr(error.problems)]
    for text in shown:
        for secret in (*SECRETS, KEY[:-1]):
            assert secret not in text
    with pytest.raises(TypeError):
        msgspec.json.encode(config)


def test_json_and_toml_give_the_same(tmp_path: Path) -> None:
    document = json.loads(json.dumps(REFERENCE))
    del document["chain"]["wallet"]["payment_address"]  # TOML has no null
    toml = tmp_path / "config.toml"
    toml.write_text("".join(f"{key} = {toml_value(value)}\n" for key, value in document.items()))
    toml.chmod(0o600)
    from_toml = load(toml, {})
    from_json = load(written(tmp_path, document), {})
    assert from_toml.config == from_json.config
    assert from_toml.warnings == from_json.warnings


def test_all_errors_of_a_reference_configuration_at_once(tmp_path: Path) -> None:
    broken = json.loads(json.dumps(REFERENCE))
    broken["server"]["port"] = "four thousand"
    broken["startup_wait"] = -1
    broken["chain"]["registry_address"] = "0x12"
    broken["containers"][0]["port"] = 70000
    broken["containers"][1]["id"] = "hello-world"
    broken["containers"][1]["volumes"] = "x"
    error = refusal(written(tmp_path, broken))
    assert sorted(problem.path for problem in error.problems) == [
        "chain.registry_address",
        "containers[0].port",
        "containers[1].id",
        "containers[1].volumes",
        "server.port",
        "startup_wait",
    ]
    assert str(error).count("\n") == 6
    assert str(tmp_path / "config.json") in str(error)


def test_the_environment_takes_precedence_over_the_file(tmp_path: Path) -> None:
    config = load(
        written(tmp_path, REFERENCE),
        {
            "INFERNET_EDGE_SERVER__PORT": "4001",
            "INFERNET_EDGE_CHAIN__ENABLED": "false",
            "INFERNET_EDGE_CONTAINERS__0__PORT": "3100",
            "INFERNET_EDGE_CONTAINERS__1__ENV__MODEL": "c/d",
            "INFERNET_EDGE_LOG__PATH": "/var/log/x",
            "INFERNET_EDGE_DOCKER__PASSWORD": "other",
        },
    ).config
    assert config.server.port == 4001
    assert config.chain.enabled is False
    assert config.containers[0].port == 3100
    assert config.containers[1].env["MODEL"] == "c/d"
    assert config.log.path == "/var/log/x"
    assert config.docker.password == Secret("other")


def test_errors_in_the_environment_are_reported_like_others(tmp_path: Path) -> None:
    file = written(tmp_path, {})
    error = refusal(file, INFERNET_EDGE_SERVER__PORT="x", INFERNET_EDGE_JOBS__ON_RESTART="maybe")
    assert sorted(problem.path for problem in error.problems) == ["jobs.on_restart", "server.port"]
    assert load(file, {"INFERNET_EDGE_SERVR__PORT": "1"}).warnings == [
        "unknown key 'servr' is ignored; did you mean 'server'?"
    ]


def test_credentials_of_systemd(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "chain.wallet.private_key").write_text(KEY + "\n")
    (credentials / "server.tokens.bob").write_text("0123456789abcdef\n")
    (credentials / "containers.elsewhere.bearer").write_text("from systemd")
    document = json.loads(json.dumps(REFERENCE))
    del document["chain"]["wallet"]["private_key"]
    del document["containers"][1]["bearer"]
    config, warnings, _ = load(
        written(tmp_path, document), {"CREDENTIALS_DIRECTORY": str(credentials)}
    )
    assert config.chain.wallet.private_key == Secret(KEY)
    assert config.server.tokens == {"bob": Secret("0123456789abcdef")}
    assert config.containers[1].bearer == Secret("from systemd")
    assert not any("chmod" in warning for warning in warnings)


def test_a_file_with_a_key_that_others_can_read(tmp_path: Path) -> None:
    file = written(tmp_path, REFERENCE)
    for mode, warned in ((0o600, False), (0o400, False), (0o640, True), (0o604, True)):
        file.chmod(mode)
        warnings = load(file, {}).warnings
        assert any(f"chmod 600 {file}" in warning for warning in warnings) is warned
    harmless = written(tmp_path, {}, "harmless.json")
    harmless.chmod(0o644)
    assert load(harmless, {}).warnings == []


def test_without_a_file_the_defaults_apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("infernet_edge.config.sources.SYSTEM_FILES", ())
    config, warnings, source = load(None, {"STATE_DIRECTORY": "/state"})
    assert source is None
    assert warnings == []
    assert config.server.port == 4000
    assert config.chain.enabled is False
    assert config.containers == []
    assert config.forward_stats is False


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    error = refusal(tmp_path / "absent.json")
    assert "no readable file" in str(error)
    with pytest.raises(ConfigurationError, match=r"absent\.toml"):
        load(None, {"INFERNET_CONFIG_PATH": str(tmp_path / "absent.toml")})


def test_the_valid_parts_of_a_configuration_with_errors(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"server": {"port": 70000, "host": "127.0.0.1"}, "containers": [{"id": "a"}]}')
    loaded, problems = load_valid_parts(file, {})
    assert [problem.path for problem in problems] == ["server.port", "containers[0].image"]
    assert (loaded.config.server.port, loaded.config.server.host) == (4000, "127.0.0.1")
    assert loaded.config.containers[0].id == "a"
    file.write_text("no JSON")
    loaded, problems = load_valid_parts(file, {"INFERNET_EDGE_SERVER__PORT": "4001"})
    assert [problem.path for problem in problems] == [""]
    assert loaded.config.server.port == 4001


def test_credentials_that_cannot_be_read_leave_the_rest(tmp_path: Path) -> None:
    (tmp_path / "docker.password").mkdir()
    file = tmp_path / "config.json"
    file.write_text('{"server": {"port": 4001}}')
    loaded, problems = load_valid_parts(file, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert [problem.path for problem in problems] == ["docker.password"]
    assert loaded.config.server.port == 4001


def test_notes_are_shown_beside_errors(tmp_path: Path) -> None:
    document = {"chain": {"enabled": True, "rpc_urls": ["http://a"]}, "redis": {"host": "x"}}
    error = refusal(written(tmp_path, document))
    note = "unknown key 'chain.rpc_urls' is ignored; did you mean 'chain.rpc_url'?"
    assert error.warnings == [note]
    assert f"\n  note: {note}" in str(error)
    assert "redis" not in str(error)


def test_a_file_of_sdk_0_1_names_what_is_not_followed(tmp_path: Path) -> None:
    chain = {
        "enabled": True,
        "rpc_url": "http://a",
        "coordinator_address": ADDRESS,
        "wallet": {"private_key": KEY},
    }
    [note] = load(written(tmp_path, {"chain": chain}), {}).warnings
    assert note.startswith("chain.registry_address is not set, so only the coordinator of SDK 0.1")
    assert "payments" in note
    both = chain | {"registry_address": ADDRESS}
    assert load(written(tmp_path, {"chain": both}), {}).warnings == []
    assert load(written(tmp_path, {"chain": chain | {"enabled": False}}), {}).warnings == []


@pytest.mark.parametrize("image", ["my image", "Alpine", "docker://alpine", "a:b:c"])
def test_names_of_images_are_checked(tmp_path: Path, image: str) -> None:
    container = {"id": "a", "image": image}
    [problem] = refusal(written(tmp_path, {"containers": [container]})).problems
    assert problem.path == "containers[0].image"
    assert problem.found.startswith(f'"{image}" (')
    assert "alpine:3" in problem.expected
    # Where the node does not use it, it is no error.
    for document in (
        {"containers": [container | {"url": "http://a"}]},
        {"containers": [container], "manage_containers": False},
    ):
        assert load(written(tmp_path, document), {}).warnings == []


@pytest.mark.parametrize(
    ("registry", "meant"),
    [
        ("docker.io", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("", "docker.io"),
        ("https://ghcr.io/", "ghcr.io"),
        ("registry.example:5000", "registry.example:5000"),
    ],
)
def test_the_registry_of_the_login(tmp_path: Path, registry: str, meant: str) -> None:
    assert load(written(tmp_path, {"docker": {"registry": registry}}), {}).config.docker == (
        Registry(registry=meant)
    )


@pytest.mark.parametrize("registry", ["ghcr.io/team", "a b", "me:secret@ghcr.io", "ftp://x"])
def test_a_registry_that_is_none(tmp_path: Path, registry: str) -> None:
    [problem] = refusal(written(tmp_path, {"docker": {"registry": registry}})).problems
    assert problem.path == "docker.registry"
    assert "secret" not in str(problem)


def test_a_login_that_no_image_uses_is_noted(tmp_path: Path) -> None:
    docker = {"username": "me", "password": "registry-password"}
    images = ["ghcr.io/a/b", "localhost/c"]
    containers = [{"id": f"c{n}", "image": image, "port": n} for n, image in enumerate(images, 1)]
    document = {"docker": docker, "containers": containers}
    [note] = load(written(tmp_path, document), {}).warnings
    assert note.startswith("docker.username and docker.password belong to docker.io and are not")
    assert "ghcr.io" in note
    assert "registry-password" not in note
    changes: list[dict[str, Any]] = [
        {"docker": docker | {"registry": "ghcr.io"}},
        {"containers": [*containers, {"id": "d", "image": "you/d", "port": 9}]},
        {"containers": containers[1:]},
        {"docker": {}},
    ]
    for changed in changes:
        assert load(written(tmp_path, document | changed), {}).warnings == []


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("CONTAINERS", '[{"bearer": "hunter2",\n "id" 7}]', "line 2, column 7"),
        ("SERVER", '{"tokens": {"x": "hunter2"},\n 7}', "line 2, column 2"),
        ("SERVER__TOKENS", '{"x": "hunter2",}', "line 1, column 17"),
    ],
)
def test_the_place_of_an_error_in_a_variable_is_named(
    tmp_path: Path, name: str, text: str, place: str
) -> None:
    error = refusal(written(tmp_path, {}), **{f"INFERNET_EDGE_{name}": text})
    assert f"text that is not JSON at {place}" in str(error)
    assert "hunter2" not in str(error)  # it may be longer than what is shown of other texts
