"""The login at a registry: to which one it belongs, and what to do when a pull is refused."""

from __future__ import annotations

import base64
import json
import re

from infernet_edge.config.model import Registry
from infernet_edge.config.values.image_names import registry_of

# Texts of registries, of Podman 4 and 5, and of the distribution specification's error codes.
_REFUSED = re.compile(
    r"\bunauthorized\b|authentication required|(?<!permission )\bdenied\b|\bforbidden\b"
    r"|invalid username/password|unable to retrieve auth token|\bstatus ?code:? 40[13]\b"
    r"|incorrect username or password|no basic auth credentials",
    re.IGNORECASE,
)
_PODMAN_LOGIN = "with podman login (see docs/containers.md)"


def login_headers(login: Registry, image: str) -> dict[str, str]:
    """The headers of Podman's API for a pull; none when the login is for another registry.

    X-Registry-Config names the registry of the login, so that Podman does not send it to a mirror
    either. Without the header Podman uses the logins of its user.
    """
    if not login.username or not login.password or registry_of(image) != login.registry:
        return {}
    logins = {
        login.registry: {"username": login.username, "password": login.password.reveal()},
    }
    encoded = base64.urlsafe_b64encode(json.dumps(logins).encode())
    return {"X-Registry-Config": encoded.decode("ascii")}


def is_refusal(error: str) -> bool:
    """Whether a pull failed because of the login: status 401 or 403 of the registry."""
    return _REFUSED.search(error) is not None


def remedy(login: Registry, image: str) -> str:
    """What to do when the registry of an image refuses its pull."""
    registry = registry_of(image)
    if not login.username or not login.password:
        return (
            f"{registry} refuses it without a login. If the name is right and the image is private,"
            f" {_own_login(registry)}"
        )
    if registry == login.registry:
        return (
            f"{registry} refuses docker.username and docker.password: check them, and that they"
            " may read this image"
        )
    return (
        f"{registry} refuses it without a login: docker.username and docker.password belong to"
        f" {login.registry} (docker.registry) and are not sent to others. If they belong to"
        f' {registry}, set docker.registry = "{registry}"; else log in there {_PODMAN_LOGIN}'
    )


def _own_login(registry: str) -> str:
    named = "" if registry == Registry().registry else f' and docker.registry = "{registry}"'
    return f"set docker.username and docker.password{named}, or log in {_PODMAN_LOGIN}"
