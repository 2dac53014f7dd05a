"""The names of images, by the grammar of github.com/distribution/reference (reference.go).

    [registry/]repository[:tag][@digest]

Docker's rules for names without a registry apply (normalize.go there), as in Podman's API.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

DEFAULT_REGISTRY: Final = "docker.io"
_OTHER_NAMES: Final = ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_PART = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_TRANSPORT = re.compile(r"[a-z-]+://|(?:oci|oci-archive|docker-archive|docker-daemon|dir):[./]")
_AROUND = re.compile(r"^https?://|/(?:v[12]/?)?$")
_MAX_NAME = 255  # bytes of the registry and the repository
_MAX_PORT = 65535


class ImageName(NamedTuple):
    """The parts of a name; `tag` and `digest` are "" where there are none."""

    registry: str
    repository: str
    tag: str
    digest: str


class InvalidName(ValueError):
    """A name that no image has; the text says which part is wrong."""


def parse(text: str) -> ImageName:
    """The parts of a name of an image. Raises InvalidName."""
    if found := next((n for n, each in enumerate(text, 1) if each.isspace()), 0):
        raise InvalidName(f"a space at position {found}")
    if _TRANSPORT.match(text):
        raise InvalidName("it begins with a transport, which is left out")
    name, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise InvalidName("after @ there is no digest such as sha256: and 64 hex digits")
    registry, path = _split(name)
    repository, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise InvalidName(
            "its tag is not of 1 to 128 letters, digits, '_', '.' and '-', beginning with none of"
            " the last two"
        )
    if registry and not is_registry(registry):
        raise InvalidName("its registry is not a host with an optional port")
    for part in repository.split("/"):
        if not _PART.fullmatch(part):
            raise InvalidName(_flaw_of(part))
    if len(registry) + len(repository) + bool(registry) > _MAX_NAME:
        raise InvalidName(f"it is longer than {_MAX_NAME} bytes")
    if not registry or registry in _OTHER_NAMES:
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in repository:
        repository = f"library/{repository}"
    return ImageName(registry, repository, tag, digest)


def registry_of(image: str) -> str:
    """Where an image is pulled from, also for a name that is invalid otherwise."""
    return normalized_registry(_split(image)[0])


def normalized_registry(text: str) -> str:
    """The name of a registry; Docker Hub has several, and "" means it too.

    The forms that docker login takes have https:// and a path.
    """
    plain = _AROUND.sub("", text.strip())
    return DEFAULT_REGISTRY if not plain or plain in _OTHER_NAMES else plain


def is_registry(text: str) -> bool:
    """Whether it is a host with an optional port, as in the name of an image."""
    if not _REGISTRY.fullmatch(text):
        return False
    port = text.rpartition(":")[2] if text[-1] != "]" and ":" in text else ""
    return not port or 0 < int(port) <= _MAX_PORT


def _split(name: str) -> tuple[str, str]:
    """The registry, "" for none, and the rest. What has a dot, a port or a capital is a host."""
    first, slash, rest = name.partition("/")
    is_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    return (first, rest) if slash and is_host else ("", name)


def _flaw_of(part: str) -> str:
    if not part:
        return "a part of its repository is empty"
    if part != part.lower():
        return "its repository has capital letters"
    if part[0] in "._-" or part[-1] in "._-":
        return f'"{part}" begins or ends with a separator'
    if re.fullmatch(r"[a-z0-9._-]+", part):
        return f'"{part}" has separators side by side; only __ and several - are allowed'
    return "its repository has other characters than a-z, 0-9, '.', '_' and '-'"
