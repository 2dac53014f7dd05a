"""Where an image comes from, by its name."""

from __future__ import annotations

from collections.abc import Collection

from infernet_edge.config.values.image_names import registry_of

LOCALHOST = "localhost"
"""The registry in the names of images that were made on this machine."""


def canonical(image: str) -> str:
    """The name with its registry: `busybox` is `docker.io/library/busybox`."""
    registry = registry_of(image)
    if image.startswith(f"{registry}/"):
        return image
    return f"{registry}/{image if '/' in image else f'library/{image}'}"


def has_digest(image: str) -> bool:
    """Whether the name identifies the content, which then never changes."""
    return "@" in image


def is_made_here(image: str, tags: Collection[str] = ()) -> bool:
    """Whether the image was made on this machine, so that no registry has it.

    `tags` are all names of the local image. Podman finds localhost/llm:1 by the name llm:1 too;
    what a registry has under that name is another image, perhaps of a stranger.
    """
    if registry_of(image) == LOCALHOST:
        return True
    name = image if ":" in image.rpartition("/")[2] else f"{image}:latest"
    return f"{LOCALHOST}/{name}" in tags
