"""Texts about images that the node cannot get or use."""

from __future__ import annotations

import pytest

from infernet_edge.containers.images.advice import damaged

URL = "unix:///run/podman/podman.sock"
OUTPUT = "it stopped with exit code 1; its last output: exec /x: exec format error"
STORAGE = "Podman could not create the container: layer not known"


@pytest.mark.parametrize("repaired", [True, False])
def test_a_program_that_cannot_be_executed_is_no_reason_to_remove_other_images(
    repaired: bool,
) -> None:
    """The image says amd64 and has programs for arm64, or its entry point is a plain text."""
    text = damaged("ghcr.io/a/b:1", URL, OUTPUT, repaired=repaired)
    assert "for another machine than the image says, or a script" in text
    assert f"podman --url {URL} rmi --force ghcr.io/a/b:1; then pull or load it again" in text
    assert "--all" not in text
    assert ("also after it was pulled again" in text) == repaired


def test_shared_layers_that_are_damaged() -> None:
    text = damaged("ghcr.io/a/b:1", URL, STORAGE, repaired=True)
    assert text.endswith(f"podman --url {URL} rmi --all --force")
    assert "save those of localhost before" in text
    text = damaged("localhost/a:1", URL, STORAGE, repaired=False)
    assert text.endswith("rmi --force localhost/a:1; then build or load it again")
