"""Names of images, by the grammar of distribution/reference."""

from __future__ import annotations

import pytest

from infernet_edge.config.values.image_names import (
    InvalidName,
    is_registry,
    normalized_registry,
    parse,
    registry_of,
)

DIGEST = "sha256:" + "0f" * 32


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("alpine", ("docker.io", "library/alpine", "", "")),
        ("alpine:3", ("docker.io", "library/alpine", "3", "")),
        ("docker.io/alpine", ("docker.io", "library/alpine", "", "")),
        ("index.docker.io/a/b", ("docker.io", "a/b", "", "")),
        ("ritualnetwork/hello:latest", ("docker.io", "ritualnetwork/hello", "latest", "")),
        ("ghcr.io/a/b/c:V1.0_x-y", ("ghcr.io", "a/b/c", "V1.0_x-y", "")),
        (f"ghcr.io/a/b:1@{DIGEST}", ("ghcr.io", "a/b", "1", DIGEST)),
        (f"a@{DIGEST}", ("docker.io", "library/a", "", DIGEST)),
        ("localhost/echo:1", ("localhost", "echo", "1", "")),
        ("localhost:5000/echo", ("localhost:5000", "echo", "", "")),
        ("127.0.0.1:5000/a/b", ("127.0.0.1:5000", "a/b", "", "")),
        ("[2001:db8::1]:5000/a", ("[2001:db8::1]:5000", "a", "", "")),
        ("[2001:db8::1]/a", ("[2001:db8::1]", "a", "", "")),
        ("Registry/a", ("Registry", "a", "", "")),
        ("a.b_c__d---e", ("docker.io", "library/a.b_c__d---e", "", "")),
        ("0f" * 32, ("docker.io", "library/" + "0f" * 32, "", "")),  # an id of a local image
        (DIGEST, ("docker.io", "library/sha256", DIGEST.partition(":")[2], "")),
        ("a:" + "t" * 128, ("docker.io", "library/a", "t" * 128, "")),
    ],
)
def test_valid_names(text: str, parts: tuple[str, ...]) -> None:
    assert parse(text) == parts
    assert registry_of(text) == parts[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("my image", "a space at position 3"),
        (" alpine", "a space at position 1"),
        ("alpine:3\n", "a space at position 9"),
        ("Alpine", "capital letters"),
        ("ghcr.io/Owner/name", "capital letters"),
        ("docker://alpine", "a transport"),
        ("oci:/path", "a transport"),
        ("https://ghcr.io/a", "a transport"),
        ("alpine:", "its tag"),
        ("alpine:-1", "its tag"),
        ("alpine:a/b", "its tag|its registry"),
        ("alpine:3:4", "its tag"),
        ("a:" + "t" * 129, "its tag"),
        ("alpine@sha256:12", "no digest"),
        ("alpine@", "no digest"),
        ("a//b", "is empty"),
        ("a/", "is empty"),
        ("/a", "is empty"),
        (":3", "is empty"),
        ("-a", "begins or ends with a separator"),
        ("a_/b", "begins or ends with a separator"),
        ("a..b", "separators side by side"),
        ("a___b", "separators side by side"),
        ("a._b", "separators side by side"),
        ("é", "other characters"),
        ("a$b", "other characters"),
        ("-x.y/a", "its registry"),
        ("ghcr.io:x/a", "its registry"),
        ("ghcr.io:70000/a", "its registry"),
        ("[::1/a", "its registry"),
        ("a" * 256, "longer than 255"),
        ("ghcr.io/" + "a" * 248, "longer than 255"),
    ],
)
def test_invalid_names(text: str, reason: str) -> None:
    with pytest.raises(InvalidName, match=reason):
        parse(text)


def test_registries() -> None:
    for name in ("docker.io", "ghcr.io", "localhost:5000", "[::1]:5000", "registry"):
        assert is_registry(name), name
    for name in ("https://ghcr.io", "ghcr.io/team", "a b", "ghcr.io:", "ghcr.io:0", ":5000", "-a"):
        assert not is_registry(name), name
    assert normalized_registry("registry-1.docker.io") == normalized_registry("") == "docker.io"
    assert normalized_registry("ghcr.io") == "ghcr.io"
