"""What to do about an image that the node cannot get, with the command."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from infernet_edge.config.values.image_names import registry_of
from infernet_edge.containers.images.damage import output_shows_damage


def podman_command(url: str, *words: str) -> str:
    """A command for the node's Podman at `url`, for a shell; with sudo where that is root's.

    Blocks for a moment.
    """
    scheme, _, path = url.partition("://")
    other = False
    if scheme == "unix":
        try:
            other = Path(path).stat().st_uid == 0 != os.getuid()
        except OSError:
            other = False
    command = shlex.join(["podman", "--url", url, *words])
    return f"sudo {command}" if other else command


def copy_command(image: str, url: str) -> str:
    """The command that copies an image of the user who runs it into the node's Podman."""
    return f"{shlex.join(['podman', 'save', image])} | {podman_command(url, 'load')}"


def missing(image: str, url: str, *, made_here: bool) -> str:
    """Why an image that is not here is not pulled, and what to do."""
    why = "images of localhost are never pulled" if made_here else 'its pull is "never"'
    text = (
        f"image {image} is not in the node's Podman, and {why}. Each user's Podman has its own"
        f" images, root's too; copy it from the one that has it with: {copy_command(image, url)}"
    )
    if not made_here:
        text += f"; or pull it with: {podman_command(url, 'pull', image)}"
    return text


def damaged(image: str, url: str, reason: str, *, repaired: bool) -> str:
    """What to do about a damaged image that the node does not replace, or replaced in vain.

    `reason` is an error of Podman, or the end of a container with its output: then the image may be
    intact and wrong.
    """
    again = (
        "build or load it again" if registry_of(image) == "localhost" else "pull or load it again"
    )
    remove = f"{podman_command(url, 'rmi', '--force', image)}; then {again}"
    if output_shows_damage(reason):
        after = ", also after it was pulled again" if repaired else ""
        return (
            f"a program of image {image} cannot be executed{after} ({reason}). It is for another"
            " machine than the image says, or a script whose first line is not #! and a program:"
            f" use another image. If it ran here before, its storage is damaged: {remove}"
        )
    if repaired:
        return (
            f"the storage of image {image} is still damaged after it was pulled again, since other"
            f" images share its layers ({reason}). Remove all images, which are then pulled again;"
            " save those of localhost before, which are not (podman save):"
            f" {podman_command(url, 'rmi', '--all', '--force')}"
        )
    return f"the storage of image {image} is damaged ({reason}). Remove it with: {remove}"
