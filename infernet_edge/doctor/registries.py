"""Whether an image registry accepts a user name and a password."""

from __future__ import annotations

import asyncio
import base64
import re
from urllib.parse import urlsplit

from infernet_edge.config.model import Registry
from infernet_edge.http_client.client import HttpClient
from infernet_edge.http_client.errors import HttpError
from infernet_edge.http_client.urls import parse_url

_TIMEOUT = 10.0  # seconds
_REFUSED = (401, 403)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


async def refuses(http: HttpClient, url: str, login: Registry) -> bool:
    """Whether the registry at `url` refuses the login; False also when it cannot be reached.

    By the registry's own protocol: it checks the password itself, or names a server that issues
    tokens (https://distribution.github.io/distribution/spec/auth/token/).
    """
    password = login.password.reveal() if login.password else ""
    encoded = base64.b64encode(f"{login.username}:{password}".encode()).decode("ascii")
    headers = (("Authorization", f"Basic {encoded}"),)  # RFC 7617
    try:
        async with asyncio.timeout(_TIMEOUT):
            async with await http.request("GET", parse_url(f"{url}/v2/"), headers) as response:
                challenge = response.header("www-authenticate")
                if response.status not in _REFUSED or not challenge.lower().startswith("bearer"):
                    return response.status in _REFUSED
            named = dict(_PARAMETER.findall(challenge))
            realm = named.get("realm", "")
            if urlsplit(realm).scheme != urlsplit(url).scheme:  # never without TLS
                return False
            query = (("service", named.get("service", "")), ("account", login.username))
            async with await http.request("GET", parse_url(realm, query), headers) as response:
                return response.status in _REFUSED
    except (HttpError, TimeoutError, ValueError):
        return False
