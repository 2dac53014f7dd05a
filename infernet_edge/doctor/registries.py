"""Whether an image registry accepts a user name and a password."""

from __future__ import annotations

import asyncio
import base64
import re
from urllib.parse import urlsplit

import aiohttp

from infernet_edge.config.model import Registry

_TIMEOUT = 10.0  # seconds
_REFUSED = (401, 403)
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


async def refuses(session: aiohttp.ClientSession, url: str, login: Registry) -> bool:
    """Whether the registry at `url` refuses the login; False also when it cannot be reached.

    By the registry's own protocol: it checks the password itself, or names a server that issues
    tokens (https://distribution.github.io/distribution/spec/auth/token/).
    """
    password = login.password.reveal() if login.password else ""
    encoded = base64.b64encode(f"{login.username}:{password}".encode()).decode("ascii")
    headers = {"authorization": f"Basic {encoded}"}  # RFC 7617
    try:
        async with asyncio.timeout(_TIMEOUT):
            async with session.get(
                f"{url}/v2/", headers=headers, allow_redirects=False
            ) as response:
                challenge = response.headers.get("www-authenticate", "")
                if response.status not in _REFUSED or not challenge.lower().startswith("bearer"):
                    return response.status in _REFUSED
            named = dict(_PARAMETER.findall(challenge))
            realm = named.get("realm", "")
            if urlsplit(realm).scheme != urlsplit(url).scheme:  # never without TLS
                return False
            query = {"service": named.get("service", ""), "account": login.username}
            async with session.get(
                realm, params=query, headers=headers, allow_redirects=False
            ) as response:
                return response.status in _REFUSED
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return False
