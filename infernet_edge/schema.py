"""The data types of the REST API, as the REST API reference names them.

They are the only models of the wire format: requests are decoded into them, answers are encoded
from them, and the OpenAPI document is generated from them.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

JobStatus = Literal["running", "success", "failed"]


class HealthInfo(Struct, frozen=True):
    """Health of the node."""

    status: Literal["healthy", "unhealthy"]


class ErrorResponse(Struct, frozen=True):
    """What went wrong, with parameters where they help."""

    error: str
    params: dict[str, Any] = {}


MAX_DEADLINE_SECONDS: Final = 30 * 24 * 3600
MAX_PRIORITY: Final = 10


class JobOptions(Struct, frozen=True):
    """How a job is run. `deadline` and `timeout` are in seconds."""

    priority: Annotated[
        int,
        Meta(
            ge=-MAX_PRIORITY,
            le=MAX_PRIORITY,
            description="Jobs of higher priority get a free slot of their container first",
        ),
    ] = 0
    deadline: Annotated[
        Annotated[float, Meta(gt=0, le=MAX_DEADLINE_SECONDS)] | None,
        Meta(description="Seconds from acceptance after which the job fails instead of starting"),
    ] = None
    timeout: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="Maximum wait for an answer, in seconds; at most that of the container"),
    ] = None


class JobRequest(Struct, frozen=True):
    """A direct compute request: `data` goes into the first container, each output into the next.

    `data` is kept as the JSON text that the client sent, so that no number loses a digit.
    """

    containers: Annotated[
        list[str], Meta(description="Container ids, in the order in which they run.")
    ]
    data: Annotated[Raw, Meta(description="A JSON object: the input of the first container.")]
    requires_proof: bool | None = False  # the official client sends null when it is not asked
    options: JobOptions | None = None


class JobResponse(Struct, frozen=True):
    """The id of a job that is stored durably."""

    id: str


class DelegatedSubscriptionResponse(Struct, frozen=True):
    """Empty: the result of a delegated subscription is delivered on-chain."""


class ContainerOutput(Struct, frozen=True):
    """What a container answered."""

    container: str
    output: Raw


class ContainerError(Struct, frozen=True):
    """Why a container failed."""

    container: str
    error: str


class JobDetail(Struct, frozen=True):
    """The course of a job; times are ISO 8601 in UTC, null for what has not happened.

    `container` is where an unfinished job is now, `position` its place in the queue there, from 1;
    null when it does not wait. `started_at` is the last start, `attempts` counts the starts.
    """

    created_at: str
    started_at: str | None
    finished_at: str | None
    attempts: int
    position: int | None
    container: str | None
    cancelled: bool


class JobResult(Struct, frozen=True):
    """A job as its client sees it; `result` is a ContainerOutput or a ContainerError."""

    id: str
    status: JobStatus
    result: Raw | None
    intermediate_results: Raw | UnsetType = UNSET
    detail: JobDetail | UnsetType = UNSET


class HistoryItem(Struct, frozen=True, kw_only=True):
    """A job of the past, or of now; times in milliseconds since 1970, sizes in bytes.

    `steps` is the number of its containers, `container` and `position` are as in JobDetail.
    `error` is the beginning of the text. `input_bytes` is null
    when the input was not kept.
    """

    id: str
    client: str
    kind: Literal["direct", "stream"]
    status: JobStatus
    containers: list[str]
    steps: int
    attempts: int
    created_at: int
    started_at: int | None
    finished_at: int | None
    container: str | None = None
    position: int | None = None
    cancelled: bool
    error: str | None
    input_bytes: int | None
    result_bytes: int | None


class JobHistory(Struct, frozen=True):
    """A page of jobs, newest first.

    `next` is the cursor for the next page, null when there is none. All jobs accepted since
    `searched_to` (milliseconds since 1970) were searched; null: all jobs.
    """

    items: list[HistoryItem]
    next: str | None
    searched_to: int | None


class StatusReport(Struct, frozen=True):
    """What a container that does not speak Infernet reports of a job of its own."""

    id: Annotated[str, Meta(min_length=1, max_length=128)]
    status: str
    containers: list[str]


class ContainerInfo(Struct, frozen=True, omit_defaults=False):
    """A container that runs on this node."""

    id: str
    external: bool
    image: str
    description: str = ""


class PendingJobs(Struct, frozen=True):
    """How many jobs are accepted and not yet finished."""

    offchain: int
    onchain: int


class ChainInfo(Struct, frozen=True):
    """Whether the chain is on, and the node's account there ("" when off)."""

    enabled: bool
    address: str


class ChainServer(Struct, frozen=True):
    """A JSON-RPC server by its host; `ms` is how long an answer usually takes."""

    host: str
    ok: bool
    reason: str
    ms: int | None


class ChainSummary(Struct, frozen=True, kw_only=True):
    """The state of the chain: amounts as decimal text in wei, `head_at` in ms since 1970.

    `balance` is that of the node's account `address`, null while it is not known. `pending` counts
    the deliveries that have not ended. `block_seconds` is the usual time from one block to the
    next, null until some have come.
    """

    chain_id: int | None
    name: str | None
    head: int | None
    head_at: int | None
    rpc: list[ChainServer]
    address: str
    balance: str | None
    payment_wallet: str | None
    gas_spent_day: str
    pending: int
    block_seconds: float | None


class NodeInfo(Struct, frozen=True):
    """What this node is and does."""

    version: str
    containers: list[ContainerInfo]
    pending: PendingJobs
    chain: ChainInfo


class MLModel(Struct, frozen=True):
    """A machine learning model."""

    owner: str = ""
    name: str = ""
    repository: str = ""
    storage: str = ""
    files: list[str] = []
    version: str = ""
    ml_type: str = ""


class OSInfo(Struct, frozen=True):
    """The operating system."""

    name: str
    version: str


class CPUInfo(Struct, frozen=True):
    """The processor; `cores` has one line a logical core, such as "0: 1800 MHz (600-2400)"."""

    architecture: str
    byte_order: str
    cores: list[str]
    model: str
    num_cores: int
    vendor_id: str


class DiskInfo(Struct, frozen=True):
    """A mounted filesystem; sizes in bytes."""

    available: int
    filesystem: str
    mount_point: str
    size: int
    used: int


class GPUInfo(Struct, frozen=True):
    """A GPU; memory in bytes."""

    name: str
    memory_total: int
    memory_used: int
    cuda_device_id: int


class DeviceInfo(Struct, frozen=True):
    """An NPU (`kind` "npu") or a GPU's render node ("render"); "" where nothing is known."""

    name: str
    kind: str
    path: str
    driver: str


class BaseCapability(
    Struct, frozen=True, omit_defaults=True, tag_field="capability_id", tag="base"
):
    """What the machine is made of.

    `device_info` is not in the document and left out when there is none. It is a field of this
    capability since clients of Infernet's own library refuse a `capability_id` that they do not
    know, and ignore fields.
    """

    os_info: OSInfo
    cpu_info: CPUInfo
    disk_info: list[DiskInfo]
    device_info: list[DeviceInfo] = []


class GPUCapability(Struct, frozen=True, tag_field="capability_id", tag="gpu"):
    """The NVIDIA GPUs of the machine and the driver that they run with."""

    driver_version: str
    cuda_version: str
    gpu_info: list[GPUInfo]


HardwareCapability = BaseCapability | GPUCapability


class ComputeCapability(Struct, frozen=True, omit_defaults=False):
    """What an inference service can do."""

    id: str
    type: str
    task: list[str]
    models: list[MLModel]
    cached_models: list[MLModel]
    inference_engine: str | UnsetType = UNSET
    inference_engine_version: str | UnsetType = UNSET


class ServiceResources(Struct, frozen=True):
    """The hardware and the models behind a service."""

    service_id: str
    compute_capability: list[ComputeCapability]
    hardware_capabilities: list[HardwareCapability]


class ModelSupport(Struct, frozen=True):
    """Whether a container can serve a model."""

    supported: bool
    error: str | UnsetType = UNSET


TokenScope = Literal["read", "submit", "operator", "metrics"]


class TokenRequest(Struct, frozen=True):
    """A token to make.

    `expires`: a date such as 2027-01-01, or a period such as 30d; never without it. `keep_jobs`:
    the holder may see the jobs of an earlier token of this name. `replace_damaged`: a damaged file
    of tokens is put aside, and a new one begun.
    """

    name: str
    scope: TokenScope
    expires: str | None = None
    keep_jobs: bool = False
    replace_damaged: bool = False


class TokenInfo(Struct, frozen=True):
    """A token, without its text; times in milliseconds since 1970.

    `created_at` is null for a token of the configuration; of those, `last_used_at` is since the
    start of the node. `valid`: it is accepted now.
    """

    name: str
    scope: TokenScope
    created_at: int | None
    expires_at: int | None
    last_used_at: int | None
    valid: bool


class TokenList(Struct, frozen=True):
    """All tokens; `open`: there is none, and everyone on the network may submit jobs."""

    tokens: list[TokenInfo]
    open: bool
    problems: list[str]


class NewToken(Struct, frozen=True):
    """A token that was made, which no other answer has; `closed_node`: it is the first one."""

    name: str
    scope: TokenScope
    created_at: int
    expires_at: int | None
    token: str
    closed_node: bool


class RevokedToken(Struct, frozen=True):
    """A token that is no longer accepted; `open`: it was the last one."""

    name: str
    revoked_at: int
    open: bool


class CallerInfo(Struct, frozen=True):
    """Who calls, as the node sees it, and what that permits; `open`: the node has no token.

    `name` and `expires_at` (milliseconds since 1970) are those of the token; null without one.
    `client` owns the jobs that the caller submits.
    """

    client: str
    name: str | None
    scope: TokenScope
    expires_at: int | None
    open: bool


class ReloadReport(Struct, frozen=True):
    """What a reload of the configuration did. With problems, nothing was changed."""

    applied: Annotated[list[str], Meta(description="Keys whose new values are in force")] = []
    needs_restart: Annotated[
        list[str], Meta(description="Keys whose new values a restart of the node applies")
    ] = []
    problems: list[str] = []
    notes: Annotated[
        list[str], Meta(description="What may be wrong, such as keys that are not known")
    ] = []


encoder = msgspec.json.Encoder()
"""One JSON encoder for the process; msgspec encoders may be shared."""
