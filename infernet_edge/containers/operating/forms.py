"""What the API answers about containers, for operators."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

ContainerState = Literal["ready", "starting", "failed", "asleep", "elsewhere"]


class ContainerSlots(Struct, frozen=True):
    """The slots of a container: each is for one job."""

    used: int
    of: int


class ContainerHour(Struct, frozen=True):
    """The jobs of a container in the last hour, and the median of their times (milliseconds)."""

    done: int
    failed: int
    p50_ms: int | None


class PullState(Struct, frozen=True):
    """Bytes of the pull of an image that runs, of those that are known so far."""

    bytes: int
    of: int


class ContainerItem(Struct, frozen=True):
    """A configured container. Times are milliseconds since 1970, sizes are bytes.

    What is not known, or does not apply, is null.
    """

    id: str
    state: Annotated[
        ContainerState,
        Meta(
            description='"asleep": it is started when a job needs it; "elsewhere": it answers, and'
            " the node does not manage it"
        ),
    ]
    reason: Annotated[str, Meta(description='Why it is in this state; "" when it is ready')]
    since: Annotated[int, Meta(description="It is in this state since then")]
    next_start_at: Annotated[int | None, Meta(description="When it is started again")]
    managed: Annotated[bool, Meta(description="Whether the node starts and stops it")]
    restarts: Annotated[int | None, Meta(description="Since the start of the node")]
    slots: ContainerSlots
    waiting: Annotated[int, Meta(description="Jobs that wait for a slot")]
    hour: ContainerHour
    cpu_percent: Annotated[float | None, Meta(description="Of one core: 100 is one core")]
    memory: int | None
    memory_limit: int | None
    image: str | None
    digest: Annotated[str | None, Meta(description="Of the image that it runs")]
    new_digest: Annotated[
        str | None, Meta(description="Of a newer image that was pulled: a restart uses it")
    ]
    pull: Annotated[PullState | None, Meta(description="The pull of its image that runs")]
    pull_error: Annotated[str | None, Meta(description="Why the last requested pull failed")]
    url: Annotated[str | None, Meta(description="Of a service that the node does not manage")]
    input_schema: dict[str, Any] | None = None


class ContainerList(Struct, frozen=True):
    """All configured containers, in the order of the configuration."""

    items: list[ContainerItem]


class ContainerAction(Struct, frozen=True):
    """The state of a container after an action on it was begun."""

    id: str
    state: ContainerState
