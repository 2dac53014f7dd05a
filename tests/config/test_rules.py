"""The rules between the keys of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infernet_edge.config import Config, ConfigurationError
from infernet_edge.config.loading import build
from infernet_edge.config.rules import size_in_bytes

ADDRESS = "0x" + "aB" * 20
KEY = "0x" + "12" * 32
CHAIN = {
    "enabled": True,
    "rpc_url": "https://rpc.example/key",
    "registry_address": ADDRESS,
    "wallet": {"private_key": KEY},
}


def made(document: dict[str, Any], **environment: str) -> tuple[Config, list[str]]:
    return build(document, "x", environment)


def problems(document: dict[str, Any]) -> dict[str, str]:
    """Path and text of each problem."""
    try:
        build(document, "x", {})
    except ConfigurationError as error:
        return {problem.path: str(problem) for problem in error.problems}
    return {}


def container(**keys: Any) -> dict[str, Any]:
    return {"containers": [{"id": "a", "image": "b", **keys}]}


def chain(**keys: Any) -> dict[str, Any]:
    return {"chain": {**CHAIN, **keys}}


@pytest.mark.parametrize("path", ["", "backups", "./x", "~/x"])
def test_scheduled_backups_need_an_absolute_path(path: str) -> None:
    assert list(problems({"backup": {"path": path}})) == ["backup.path"]
    assert problems({"backup": {"path": "/mnt/usb"}}) == {}


def test_a_managed_container_needs_an_image() -> None:
    document = {"containers": [{"id": "a"}, {"id": "b", "url": "http://10.0.0.5:3000"}]}
    assert list(problems(document)) == ["containers[0].image"]
    assert problems({**document, "manage_containers": False}) == {}


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example",
        "http://localhost:5173",
        "https://app.example:80",
        "http://192.168.1.7:8080",
        "http://[fd00::2]:8080",
        "https://xn--bcher-kva.example",
        "capacitor://localhost",
    ],
)
def test_allowed_origins(origin: str) -> None:
    assert problems({"server": {"allowed_origins": [origin]}}) == {}


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("https://app.example/", "https://app.example"),
        ("https://app.example/page?a=b#c", "https://app.example"),
        ("HTTPS://App.Example:443", "https://app.example"),
        ("http://app.example:80", "http://app.example"),
        (" https://app.example ", "https://app.example"),
        ("http://[FD00:0::2]:8080", "http://[fd00::2]:8080"),
        ("https://app\n.example", "https://app.example"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
    ],
)
def test_allowed_origins_in_another_form(text: str, right: str) -> None:
    found = problems({"server": {"allowed_origins": ["https://b.example", text]}})
    assert list(found) == ["server.allowed_origins[1]"]
    (error,) = found.values()
    assert error.endswith(f'expected "{right}", as browsers send it')
    assert "\n" not in error


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "",
        "null",
        "app.example",
        "https://*.example",
        "https://",
        "file:///a",
        "http://a b",
        "https://app.example:0",
        "https://app.example:x",
        "http://[fd00",
    ],
)
def test_what_is_no_origin(text: str) -> None:
    found = problems({"server": {"allowed_origins": [text]}})
    assert list(found) == ["server.allowed_origins[0]"]
    (error,) = found.values()
    assert "expected an exact origin such as https://app.example (not *" in error


def test_a_password_in_an_origin_is_not_shown() -> None:
    found = problems({"server": {"allowed_origins": ["https://user:hunter2@app.example"]}})
    (error,) = found.values()
    assert "hunter2" not in error
    assert '"https://app.example"' in error


def test_ids_are_unique() -> None:
    document = {"containers": [{"id": name, "image": "x"} for name in ("a", "b", "a", "a")]}
    found = problems(document)
    assert list(found) == ["containers[2].id", "containers[3].id"]
    assert "containers[0] has the same" in found["containers[3].id"]


@pytest.mark.parametrize(
    "url",
    [
        "10.0.0.5:3000",
        "ftp://10.0.0.5",
        "http://",
        "http://:3000",
        "http://a:99999",
        "http://a:x",
        "http://[::1",
        "http://a..b",
        "/path",
    ],
)
def test_urls_of_containers(url: str) -> None:
    assert list(problems(container(url=url))) == ["containers[0].url"]


@pytest.mark.parametrize("url", ["http://a", "https://a.b:8443/c", "http://[::1]:3000", "HTTP://A"])
def test_valid_urls_of_containers(url: str) -> None:
    assert problems(container(url=url)) == {}


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@host:3000",
        "http://hunter2@host",
        "https://:hunter2@[::1]:3000/path",
        "http://user:hunter2@other@host",
        "HTTP://user:hunter2%40@host",
        "user:hunter2@host",
        "//user:hunter2@host",
        "http:/user:hunter2@host",
        "ftp://user:hunter2@host\n",
    ],
)
def test_a_user_in_a_url_is_refused_and_not_shown(url: str) -> None:
    [(path, problem)] = problems(container(url=url)).items()
    assert path == "containers[0].url"
    assert "hunter2" not in str(problem)
    assert "***@" in str(problem)


def test_a_password_in_a_url_is_not_shown() -> None:
    for document in (
        container(url="ftp://user:hunter2@host"),
        {"podman": {"url": "http://user:hunter2@host"}},
        chain(rpc_url="ftp://user:hunter2@host/hunter2"),
        chain(rpc_url=["https://fine.example", "wss://host/hunter2"]),
    ):
        found = problems(document)
        assert len(found) == 1
        assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("key", "value", "path"),
    [
        ("allowed_ips", ["10.0.0.0/8", "x"], "allowed_ips[1]"),
        ("allowed_ips", ["10.0.0.0/33"], "allowed_ips[0]"),
        ("allowed_ips", ["::1/129"], "allowed_ips[0]"),
        ("volumes", ["a"], "volumes[0]"),
        ("volumes", ["a:b"], "volumes[0]"),
        ("volumes", ["a:/b:ro:x"], "volumes[0]"),
        ("volumes", [":/b"], "volumes[0]"),
        ("command", "--name 'it", "command"),
        ("env", {"": "x"}, "env"),
        ("env", {"A=B": "x"}, "env"),
        ("bearer", "token\nx: y", "bearer"),
        ("memory", "12x", "memory"),
        ("memory", "-1", "memory"),
        ("allowed_addresses", ["0x12"], "allowed_addresses"),
        ("allowed_delegate_addresses", ["x" * 40], "allowed_delegate_addresses"),
        ("accepted_payments", {"0x12": 1}, "accepted_payments"),
        ("health_path", "health", "health_path"),
        ("devices", ["/dev/dri", "hailo0"], "devices[1]"),
        ("devices", ["nvidia.com/gpu"], "devices[0]"),
    ],
)
def test_invalid_keys_of_containers(key: str, value: Any, path: str) -> None:
    assert list(problems(container(**{key: value}))) == [f"containers[0].{path}"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("allowed_ips", ["10.0.0.1", "10.1.2.3/8", "::1", "2001:db8::/32"]),
        ("volumes", ["a:/b", "/a:/b:ro", "./a:/b:ro,z"]),
        ("memory", "512m"),
        ("memory", "1GB"),
        ("memory", 2**29),
        ("command", "--name 'it is' \"a\nb\""),
        ("env", {"a.b-c": "x\ny", "Ä": ""}),
        ("bearer", "token ä"),
        ("allowed_addresses", [ADDRESS, "aB" * 20]),
        ("accepted_payments", {ADDRESS: 2**256}),
        ("health_path", "/health"),
        ("devices", ["/dev/dri", "/dev/a:/dev/b:rw", "nvidia.com/gpu=0", "hailo.ai/npu=all"]),
    ],
)
def test_valid_keys_of_containers(key: str, value: Any) -> None:
    assert problems(container(**{key: value})) == {}


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), (17, 17), ("1b", 1), ("2k", 2048), ("512m", 2**29), ("1 G", 2**30), ("1gB", 2**30)],
)
def test_sizes(text: int | str, size: int) -> None:
    assert size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "x", "1.5g", "-1", "1t", "1 m b", "0x10"])
def test_invalid_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        size_in_bytes(text)


def test_the_server(tmp_path: Path) -> None:
    found = problems(
        {
            "server": {
                "trusted_proxies": ["10.0.0.1", "proxy"],
                "tokens": {"bob": "hunter2", "eve": "x" * 16},
                "tls": {"cert": str(tmp_path / "absent"), "key": str(tmp_path / "too")},
            }
        }
    )
    assert list(found) == [
        "server.trusted_proxies[1]",
        "server.tokens.bob",
        "server.tls.cert",
        "server.tls.key",
    ]
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "::1", "fe80::1%eth0", "localhost", "a.b.", "my_host", "käse.de", ""]
)
def test_hosts(host: str) -> None:
    assert problems({"server": {"host": host}}) == {}


@pytest.mark.parametrize(
    "host",
    [
        "a b",
        "a\n",
        "\x7f",
        "a..b",
        "a" * 64,
        "http://a",
        "a/b",
        "a:80",
        "[::1]",
        "a@b",
        " ",
        "a\u202eb",
    ],
)
def test_invalid_hosts(host: str) -> None:
    assert list(problems({"server": {"host": host}})) == ["server.host"]


def test_a_token_that_no_header_can_carry() -> None:
    tokens = {"bob": "0123456789abcdef\x7f", "eve": "0123456789\r\nabcdef"}
    found = problems({"server": {"tokens": tokens}})
    assert list(found) == ["server.tokens.bob", "server.tokens.eve"]
    assert "0123456789" not in str(found)


@pytest.mark.parametrize(
    "url", ["unix:///run/podman/podman.sock", "tcp://127.0.0.1:8080", "tcp://[::1]:8080"]
)
def test_valid_podman_urls(url: str) -> None:
    assert problems({"podman": {"url": url}}) == {}


@pytest.mark.parametrize(
    "url",
    ["http://x", "unix:", "unix://", "unix://x", "tcp://", "tcp://[::1", "tcp://a:99999", "x"],
)
def test_invalid_podman_urls(url: str) -> None:
    assert list(problems({"podman": {"url": url}})) == ["podman.url"]


def test_a_valid_chain() -> None:
    for changes in (
        {},
        {"rpc_url": ["http://127.0.0.1:8545", "https://b"]},
        {"registry_address": "", "coordinator_address": ADDRESS},
        {"wallet": {"private_key": KEY.removeprefix("0x"), "payment_address": ADDRESS}},
    ):
        assert problems(chain(**changes)) == {}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"rpc_url": ""}, "chain.rpc_url"),
        ({"rpc_url": []}, "chain.rpc_url"),
        ({"rpc_url": "ws://x"}, "chain.rpc_url"),
        ({"rpc_url": ["http://a", "x"]}, "chain.rpc_url[1]"),
        ({"registry_address": ""}, "chain.registry_address"),
        ({"registry_address": "0x12"}, "chain.registry_address"),
        ({"coordinator_address": "x"}, "chain.coordinator_address"),
        ({"wallet": {}}, "chain.wallet.private_key"),
        ({"wallet": {"private_key": "hunter2"}}, "chain.wallet.private_key"),
        ({"wallet": {"private_key": KEY + "00"}}, "chain.wallet.private_key"),
        ({"wallet": {"private_key": KEY, "payment_address": "x"}}, "chain.wallet.payment_address"),
    ],
)
def test_an_invalid_chain(changes: dict[str, Any], path: str) -> None:
    found = problems(chain(**changes))
    assert list(found) == [path]
    assert "hunter2" not in str(found)
    assert "1212" not in str(found)


def test_a_chain_that_is_off_needs_nothing() -> None:
    assert problems({"chain": {"enabled": False, "rpc_url": "", "wallet": {}}}) == {}


def test_all_errors_are_reported_at_once_and_none_twice() -> None:
    document = {
        "server": {"port": "x", "trusted_proxies": ["y"]},
        "containers": [
            {"id": 1, "image": "x", "url": "ftp://x"},
            {"id": "a", "memory": "x"},
            {"id": "a", "image": "x", "allowed_ips": "x"},
        ],
        "chain": {"enabled": True, "rpc_url": 1},
    }
    with pytest.raises(ConfigurationError) as refused:
        build(document, "x", {})
    paths = [problem.path for problem in refused.value.problems]
    assert sorted(paths) == [
        "chain.registry_address",
        "chain.rpc_url",
        "chain.wallet.private_key",
        "containers[0].id",
        "containers[0].url",
        "containers[1].image",
        "containers[1].memory",
        "containers[2].allowed_ips",
        "containers[2].id",
        "server.port",
        "server.trusted_proxies[0]",
    ]
    text = str(refused.value)
    assert text.startswith("x: 11 errors\n")
    assert all(f"  {path}: found " in text for path in paths)


def test_ports_in_conflict_are_replaced_with_a_warning() -> None:
    containers = [{"id": name, "image": "x"} for name in ("a", "b", "c")]
    containers[1]["port"] = "4000"
    config, warnings = made({"containers": containers})
    assert [one.port for one in config.containers] == [3000, 3999, 3998]
    assert warnings == [
        "containers[1].port: 4000 is taken, using 3999 instead",
        "containers[2].port: 3000 is taken, using 3998 instead",
    ]


def test_a_spare_port_is_not_in_use() -> None:
    ports = {"a": 3000, "b": 3000, "c": 3999}
    containers = [{"id": name, "image": "x", "port": port} for name, port in ports.items()]
    config, _ = made({"containers": containers, "server": {"port": 3998}})
    assert [one.port for one in config.containers] == [3000, 3997, 3999]


def test_ports_of_others_are_left_as_they_are() -> None:
    containers = [{"id": name, "port": 3000} for name in ("a", "b")]
    config, warnings = made({"containers": containers, "manage_containers": False})
    assert [one.port for one in config.containers] == [3000, 3000]
    assert warnings == []
    remote = [{"id": name, "url": "http://10.0.0.5"} for name in ("a", "b")]
    assert made({"containers": remote})[1] == []


def test_the_folder_of_the_data() -> None:
    def folder(document: dict[str, Any], **environment: str) -> str:
        return made(document, **environment)[0].storage.path

    home = {"XDG_DATA_HOME": "/data"}
    assert folder({"storage": {"path": "/x"}}, STATE_DIRECTORY="/y") == "/x"
    assert folder({}, STATE_DIRECTORY="/y:/z", **home) == "/y"
    assert folder({}, **home) == "/data/infernet-edge"
    assert folder({}) == str(Path("~/.local/share/infernet-edge").expanduser())
    config = made({"storage": {"path": "~/x"}})[0]
    assert config.storage_path == Path("~/x").expanduser()
    assert config.database_path.parent == config.storage_path


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ({"redis": {"host": "x"}}, "redis"),
        ({"forward_stats": True}, "forward_stats"),
    ],
)
def test_unsupported_settings_are_reported(document: dict[str, Any], word: str) -> None:
    (warning,) = made(document)[1]
    assert warning.startswith(word)


@pytest.mark.parametrize(
    ("text", "gpu"),
    [
        ("true", True),
        ("1", True),
        ("0", False),
        ("false", False),
        ('"0"', "0"),
        ("2", "2"),
        ("0,1", "0,1"),
        ("all", "all"),
    ],
)
def test_gpus_from_the_environment(text: str, gpu: bool | str) -> None:
    config, _ = made(container(), INFERNET_EDGE_CONTAINERS__0__GPU=text)
    assert config.containers[0].gpu == gpu
