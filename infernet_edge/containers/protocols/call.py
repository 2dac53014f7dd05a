"""What is sent to a container, and the functions that each protocol has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final, NamedTuple, Protocol

from infernet_edge.config.model import Container

ON_CHAIN: Final = 0
OFF_CHAIN: Final = 1
STREAM: Final = 2


class StoredInput(NamedTuple):
    """An input that is read while it is sent: JSON text of `size` bytes."""

    size: int
    pieces: Callable[[], AsyncIterator[bytes]]


class ContainerInput(NamedTuple):
    """What a container is called with (ContainerInput of Infernet); `data` is JSON text.

    A long text in memory is a memoryview, which is not copied.
    `source` and `destination` are ON_CHAIN, OFF_CHAIN or STREAM.
    """

    data: bytes | memoryview | StoredInput
    source: int
    destination: int
    requires_proof: bool


class RequestBody(NamedTuple):
    """The body of a request: JSON text around an input that is stored, or long."""

    before: bytes
    data: memoryview | StoredInput
    after: bytes

    @property
    def size(self) -> int:
        """The length in bytes."""
        data = self.data
        size = data.nbytes if isinstance(data, memoryview) else data.size
        return len(self.before) + size + len(self.after)


class Call(NamedTuple):
    """One request of a container, below its base URL."""

    path: str
    body: bytes | RequestBody
    method: str = "POST"


class ServiceProtocol(Protocol):
    """One protocol. All its functions work in memory, at once.

    They raise ContainerFailure, with a text for the job's client.
    """

    @property
    def HEALTH_PATH(self) -> str:  # noqa: N802 - a constant of a module
        """What is probed where the configuration has no `health_path`."""

    @property
    def LOADS_MODELS(self) -> bool:  # noqa: N802
        """Whether status 503 means that it is not ready yet, and the call may be sent again."""

    @property
    def NAMES_MODELS(self) -> bool:  # noqa: N802
        """Whether it lists its models at `models_path`, and requests name one of them."""

    @property
    def PASSES_JSON(self) -> bool:  # noqa: N802
        """Whether each answer that is JSON is the output, unchanged."""

    def needs_whole(self, given: ContainerInput) -> bool:
        """Whether the input has to be in memory to make the request."""

    def request(self, container: Container, given: ContainerInput, model: str) -> Call:
        """The request for an input; `model` is the container's default, "" for none."""

    def stream_request(self, container: Container, given: ContainerInput, model: str) -> Call:
        """The same for a job whose answer is passed on as it is made."""

    def result(
        self,
        container: Container,
        given: ContainerInput,
        answer: bytes | bytearray,
        content_type: str,
        *,
        keep_numbers: bool,
    ) -> bytes | bytearray:
        """The output, JSON text, of an answer with a status below 300.

        NaN and Infinity become `null`; `keep_numbers` keeps them where the protocol can.
        """

    def event_watch(self) -> Callable[[bytes], None] | None:
        """What is called with each chunk of a stream, and raises when it says that it failed."""

    def error_text(self, text: str) -> str:
        """What an answer with an error status says; `text` is its beginning."""
