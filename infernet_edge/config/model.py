"""The configuration as one tree of Structs: every key with its type, default and description.

The names are those of the reference node's `config.json` where it has them. Sizes are in bytes,
times in seconds, money in wei. `infernet-edge init` writes the descriptions as comments.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from infernet_edge.config.devices import GPU_PATTERN
from infernet_edge.config.secret_files import Secret
from infernet_edge.config.sections.backup import Backup
from infernet_edge.config.sections.chain import Chain, ReadPath, Wei
from infernet_edge.config.sections.discovery import Discovery
from infernet_edge.config.sections.log import Log
from infernet_edge.config.sections.stats import Stats
from infernet_edge.config.values.image_names import DEFAULT_REGISTRY
from infernet_edge.config.values.tokens import Token

Port = Annotated[int, Meta(ge=0, le=65535, extra={"text_allowed": True})]
_MAX_DURATION = 100 * 365 * 24 * 3600  # seconds; more would overflow when added to a time
Seconds = Annotated[float, Meta(gt=0, le=_MAX_DURATION)]
Bytes = Annotated[int, Meta(ge=0)]
# Relative ones are resolved by values.relative_paths, according to their use.
Volume = Annotated[str, Meta(extra={"path": "volume"})]
_IGNORED = {"served": False}  # keys of the reference node without an effect here
DATABASE = "infernet-edge.sqlite"
"""The name of the database in the folder of the node's data."""


class RateLimit(Struct, frozen=True):
    num_requests: Annotated[
        int,
        Meta(ge=0, description="Requests per client and endpoint in each period; 0 = no limit"),
    ] = 60
    period: Annotated[
        float,
        Meta(
            ge=0,
            description="Length of the period in seconds",
            extra={"milliseconds_from": 10_000},
        ),
    ] = 60.0


class TLS(Struct, frozen=True):
    cert: Annotated[ReadPath, Meta(description="Path of the certificate chain, PEM")]
    key: Annotated[ReadPath, Meta(description="Path of the private key, PEM")]


class Server(Struct, frozen=True):
    host: Annotated[
        str, Meta(description="Address to listen on; 127.0.0.1 = this machine only")
    ] = "0.0.0.0"
    port: Annotated[Port, Meta(description="Port of the REST API")] = 4000
    rate_limit: RateLimit = field(default_factory=RateLimit)
    max_body_bytes: Annotated[
        int,
        Meta(ge=1024, description="Maximum size of a request body, and of a container's output"),
    ] = 16 * 2**20
    max_held_bytes: Annotated[
        Annotated[int, Meta(ge=4 * 2**20)] | None,
        Meta(
            description="Maximum bytes of requests, inputs, outputs and answers in memory; default:"
            " a quarter of the machine's memory, at most 512 MiB",
        ),
    ] = None
    max_connections_per_client: Annotated[
        int,
        Meta(
            ge=1,
            description="Maximum connections from one address; this machine and proxies have no"
            " limit",
        ),
    ] = 256
    min_body_bytes_per_second: Annotated[
        int,
        Meta(ge=1, description="Minimum speed of a request's body, after its first 20 seconds"),
    ] = 16 * 2**10
    trusted_proxies: Annotated[
        list[str],
        Meta(description="Addresses or networks of proxies whose X-Forwarded-For is trusted"),
    ] = []
    allowed_hosts: Annotated[
        list[str],
        Meta(description="Names by which clients reach this node, besides its own; * = any"),
    ] = []
    allowed_origins: Annotated[
        list[str],
        Meta(
            description="Origins of web pages elsewhere that may use the API, each exactly as"
            " https://app.example"
        ),
    ] = []
    tokens: Annotated[
        dict[str, Secret | Token],
        Meta(
            description="Client name -> token, as a text or a file, with the scope submit; or a"
            ' table with `token` or `file`, and `scope` ("read", "submit", "operator" or'
            ' "metrics") and `expires` (a date, UTC). With any token, also one that `token new`'
            " made, clients must send Authorization: Bearer"
        ),
    ] = {}
    tls: Annotated[TLS | None, Meta(description="Certificate and key for HTTPS")] = None
    openai: Annotated[
        bool,
        Meta(
            description="Whether clients of OpenAI's API may use containers that have models,"
            " at /v1"
        ),
    ] = True
    external_jobs: Annotated[
        bool,
        Meta(
            description="Whether PUT /api/status accepts jobs from this machine and its containers;"
            " false behind a proxy on this machine that adds no header"
        ),
    ] = True

    @property
    def max_call_bytes(self) -> int:
        """Maximum bytes of memory that a single call of a container needs."""
        return self.max_body_bytes + 256 * 2**10

    @property
    def min_held_bytes(self) -> int:
        """The minimum for `max_held_bytes`: room for a body, an output, and everything else."""
        return max(3 * self.max_call_bytes, 4 * 2**20)


class Registry(Struct, frozen=True):
    registry: Annotated[
        str, Meta(description="Registry of images that user name and password belong to")
    ] = DEFAULT_REGISTRY
    username: Annotated[str, Meta(description="User name for pulls from that registry only")] = ""
    password: Annotated[Secret | None, Meta(description="Password or token for those pulls")] = None


class Model(Struct, frozen=True):
    """A model that a container is declared to serve (MLModel of the REST API reference)."""

    owner: str = ""
    name: str = ""
    repository: str = ""
    storage: str = ""
    files: list[str] = []
    version: str = ""
    ml_type: str = ""


class Container(Struct, frozen=True):
    id: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$",
            description="Name of the container in jobs: letters, digits, '.', '_', '-'",
        ),
    ]
    image: Annotated[str, Meta(description="Image to run, e.g. docker.io/library/alpine:3")] = ""
    url: Annotated[
        str,
        Meta(description="Base URL of a running service, which the node does not manage"),
    ] = ""
    bearer: Annotated[Secret | None, Meta(description="Bearer token for that service")] = None
    protocol: Annotated[
        Literal["infernet", "http", "openai"],
        Meta(
            description='What the service speaks: "infernet"; "http" = any JSON service, which gets'
            ' the data of a job; or "openai" = a model server with OpenAI\'s API'
        ),
    ] = "infernet"
    path: Annotated[
        str,
        Meta(
            description="Where requests are sent, with the protocols http (default: /) and openai"
            " (default: as the data asks for: /v1/chat/completions, /v1/completions or"
            " /v1/embeddings)"
        ),
    ] = ""
    method: Annotated[
        Literal["POST", "PUT", "PATCH"], Meta(description="Method of those requests")
    ] = "POST"
    headers: Annotated[
        dict[str, str | Secret],
        Meta(
            description="Further headers of those requests; a secret one is better a file",
            extra={"secret": True},
        ),
    ] = {}
    query: Annotated[
        dict[str, str | int | float | bool | Secret],
        Meta(description="Query parameters of those requests", extra={"secret": True}),
    ] = {}
    result: Annotated[
        str,
        Meta(
            description="Which part of those answers is the output, as a JSON pointer such as"
            " /choices/0/text; empty = all"
        ),
    ] = ""
    port: Annotated[Port, Meta(description="Port on 127.0.0.1 of the service container")] = 3000
    container_port: Annotated[
        int, Meta(ge=1, le=65535, description="Port on which the service listens inside")
    ] = 3000
    pull: Annotated[
        Literal["newer", "missing", "never"],
        Meta(
            description='When its image is pulled: "newer" = at each start of the node, if the tag'
            ' has a newer one; "missing" = if it is not here; or "never"'
        ),
    ] = "newer"
    init: Annotated[
        bool,
        Meta(description="Run it below an init process, unless its image has one; it stops faster"),
    ] = True
    external: Annotated[bool, Meta(description="May be the first container of a job")] = True
    gpu: Annotated[
        bool | Annotated[str, Meta(pattern=GPU_PATTERN)],
        Meta(
            description='GPUs to pass in, by CDI: true = all, "0" = the first, "0,1" = two of them',
            extra={
                "bool_first": True,
                "expected": 'true, false, or names such as "0", "0,1" or "nvidia.com/gpu=0"',
            },
        ),
    ] = False
    accepted_payments: Annotated[
        dict[str, Wei], Meta(description="Token address -> minimum payment in wei; empty = any")
    ] = {}
    allowed_ips: Annotated[
        list[str], Meta(description="Addresses or networks that may use it; empty = all")
    ] = []
    allowed_addresses: Annotated[
        list[str], Meta(description="Contracts whose subscriptions it serves; empty = all")
    ] = []
    allowed_delegate_addresses: Annotated[
        list[str], Meta(description="Owners whose delegated subscriptions it serves; empty = all")
    ] = []
    description: Annotated[str, Meta(description="Description for users, shown in /info")] = ""
    command: Annotated[str, Meta(description="Arguments for the image, as in a shell")] = ""
    env: Annotated[
        dict[str, str | int | float | bool | Secret],
        Meta(
            description="Environment variables; a secret one is better a file",
            extra={"secret": True},
        ),
    ] = {}
    env_file: Annotated[
        ReadPath,
        Meta(description="File of further environment variables, NAME=value on each line"),
    ] = ""
    volumes: Annotated[
        list[Volume], Meta(description="Volumes, each as source:target[:options]")
    ] = []
    generates_proofs: Annotated[bool, Meta(description="Can prove its results")] = False
    timeout: Annotated[
        Seconds,
        Meta(
            description="Maximum wait for an answer, in seconds",
            extra={"milliseconds_from": 10_000},
        ),
    ] = 180.0
    startup_timeout: Annotated[
        Seconds | None,
        Meta(
            description="Maximum wait until it is ready, before that for an answer, in seconds;"
            " default: `timeout` is for both",
            extra={"milliseconds_from": 36_000},
        ),
    ] = None
    retries: Annotated[
        int,
        Meta(
            ge=0,
            le=10,
            description="How often a call is repeated that failed without an answer, with status"
            " 429 or from 500; not for streams",
        ),
    ] = 0
    max_concurrency: Annotated[
        int, Meta(ge=1, le=1024, description="Jobs that run in it at the same time")
    ] = 8
    memory: Annotated[
        int | str | None, Meta(description='Memory limit in bytes, or as text such as "512m"')
    ] = None
    cpus: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="CPU limit, in cores")
    ] = None
    shm_size: Annotated[
        int | str | None,
        Meta(description='Size of its shared memory, /dev/shm, as "1g"; default: Podman\'s, 64m'),
    ] = None
    pids: Annotated[int, Meta(ge=0, description="Maximum processes in it; 0 = no limit")] = 512
    devices: Annotated[
        list[str],
        Meta(
            description="Devices to pass in, with their groups, each as /dev/hailo0, a folder such"
            " as /dev/dri, source:target[:rwm], or a CDI name"
        ),
    ] = []
    models: Annotated[
        list[str | Model],
        Meta(
            description='Models it serves, each as "owner/name" or as an MLModel; with the protocol'
            " openai by default those that it lists"
        ),
    ] = []
    task: Annotated[list[str], Meta(description="Tasks it serves, e.g. text_generation")] = []
    type: Annotated[str, Meta(description="Kind of inference service, e.g. ONNX")] = ""
    input_schema: Annotated[
        dict[str, Any] | None,
        Meta(
            description="JSON Schema of its input, as a table or the path of a JSON file; jobs"
            " whose data does not fit are refused",
            extra={"json_file": True},
        ),
    ] = None
    health_path: Annotated[
        str, Meta(description="Path with a status below 400 when it is ready; empty = any status")
    ] = ""
    start: Annotated[
        Literal["always", "on_demand"],
        Meta(
            description='When it is started: "always" = with the node, as soon as exclusive'
            ' and max_running allow it, or "on_demand" = when the first job needs it'
        ),
    ] = "always"
    idle_timeout: Annotated[
        Seconds | None,
        Meta(
            description="Seconds without a job after which it is stopped, which gives its memory"
            " back; the next job starts it again"
        ),
    ] = None
    exclusive: Annotated[
        str,
        Meta(
            pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$",
            description="Name of a group, e.g. gpu0: of the containers with the same name at most"
            " one runs at a time; empty = none",
        ),
    ] = ""


class Storage(Struct, frozen=True):
    path: Annotated[
        str,
        Meta(
            description="Folder of the node's data, by default $STATE_DIRECTORY"
            " or ~/.local/share/infernet-edge",
            extra={"path": "storage"},
        ),
    ] = ""
    min_free_bytes: Annotated[
        Bytes, Meta(description="With less free disk, new jobs are answered with 503")
    ] = 200 * 2**20
    max_bytes: Annotated[
        int,
        Meta(ge=2**20, description="Maximum size of jobs; the oldest finished are removed first"),
    ] = 2 * 2**30


class Jobs(Struct, frozen=True):
    max_pending: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="Maximum unfinished jobs; more are answered with 503"),
    ] = 10_000
    retention: Annotated[
        Seconds,
        Meta(
            description="Seconds for which finished jobs are kept; default 7 days",
            extra={"milliseconds_from": 10 * 365 * 86400},
        ),
    ] = 7 * 24 * 3600.0
    on_restart: Annotated[
        Literal["retry", "fail"],
        Meta(description='What to do with jobs that a restart interrupted: "retry" or "fail"'),
    ] = "retry"
    keep_inputs: Annotated[
        Literal["failed", "all", "none"],
        Meta(description="Which finished jobs keep their inputs, up to 64 KiB each"),
    ] = "failed"
    max_attempts: Annotated[
        int, Meta(ge=1, le=1000, description="Maximum attempts of one job before it has failed")
    ] = 3


class Podman(Struct, frozen=True):
    url: Annotated[
        str | None,
        Meta(
            description="Podman's API, e.g. unix:///run/podman/podman.sock; default: detected"
            " automatically"
        ),
    ] = None


class Config(Struct, frozen=True):
    """All settings. Created by `load()`, never changed afterwards."""

    log: Log = field(default_factory=Log)
    manage_containers: Annotated[
        bool, Meta(description="Whether the node starts and stops the containers")
    ] = True
    max_running: Annotated[
        Annotated[int, Meta(ge=1, le=1024)] | None,
        Meta(
            description="Maximum containers that the node runs at the same time; the others start"
            " when a job needs them, and the one that was idle longest is stopped; default: no"
            " limit"
        ),
    ] = None
    startup_wait: Annotated[
        float,
        Meta(
            ge=0,
            description="Maximum wait at start until containers are ready, in seconds",
            extra={"milliseconds_from": 1000},
        ),
    ] = 5.0
    server: Server = field(default_factory=Server)
    redis: Annotated[
        dict[str, Any],
        Meta(description="Ignored: jobs are kept in SQLite", extra={"secret": True, **_IGNORED}),
    ] = {}
    forward_stats: Annotated[
        bool, Meta(description="Ignored: nothing leaves the device", extra=_IGNORED)
    ] = False
    stats: Annotated[Stats, Meta(extra=_IGNORED)] = field(default_factory=Stats)
    docker: Registry = field(default_factory=Registry)
    containers: list[Container] = []
    chain: Chain = field(default_factory=Chain)
    storage: Storage = field(default_factory=Storage)
    jobs: Jobs = field(default_factory=Jobs)
    podman: Podman = field(default_factory=Podman)
    backup: Backup = field(default_factory=Backup)
    discovery: Discovery = field(default_factory=Discovery)

    @property
    def storage_path(self) -> Path:
        return Path(self.storage.path).expanduser()

    @property
    def database_path(self) -> Path:
        return self.storage_path / DATABASE
