from __future__ import annotations

import pytest

from infernet_edge.config.values.image_names import registry_of
from infernet_edge.containers.images.reference import (
    canonical,
    has_digest,
    is_made_here,
)


@pytest.mark.parametrize(
    ("image", "registry", "full"),
    [
        ("busybox", "docker.io", "docker.io/library/busybox"),
        ("busybox:1.36", "docker.io", "docker.io/library/busybox:1.36"),
        ("you/llm:1", "docker.io", "docker.io/you/llm:1"),
        ("ghcr.io/you/llm:1", "ghcr.io", "ghcr.io/you/llm:1"),
        ("registry:5000/llm", "registry:5000", "registry:5000/llm"),
        ("localhost/llm:1", "localhost", "localhost/llm:1"),
    ],
)
def test_the_registry_of_a_name(image: str, registry: str, full: str) -> None:
    assert registry_of(image) == registry
    assert canonical(image) == full


@pytest.mark.parametrize(
    ("image", "tags", "made_here"),
    [
        ("localhost/llm:1", [], True),
        ("llm", ["localhost/llm:latest"], True),
        ("llm:1", ["localhost/llm:1"], True),
        ("you/llm:1", ["localhost/you/llm:1"], True),
        ("llm:1", ["docker.io/library/llm:1"], False),
        ("llm:1", ["localhost/llm:2", "docker.io/library/llm:1"], False),
        ("ghcr.io/you/llm:1", ["ghcr.io/you/llm:1"], False),
        ("llm:1", [], False),
    ],
)
def test_an_image_that_was_made_here(image: str, tags: list[str], made_here: bool) -> None:
    """No registry has it; what docker.io has under its name is somebody else's."""
    assert is_made_here(image, tags) == made_here


def test_a_digest_never_changes() -> None:
    assert has_digest("docker.io/you/llm@sha256:" + "0" * 64)
    assert has_digest("docker.io/you/llm:1@sha256:" + "0" * 64)
    assert not has_digest("docker.io/you/llm:1")
