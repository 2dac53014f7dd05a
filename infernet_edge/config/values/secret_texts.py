"""Whether a text that is not a secret itself may hold one: a URL, or the command of a container."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

# Numbers of tokens and tokenizers of models are no secrets.
_WORD: Final = r"(?:passw|secret|token(?!s\b|iz)|credential|api[-_]?key|private[-_]?key)"
# An option of a command, an assignment, a header (RFC 9110, 11.6.2).
_SECRETIVE: Final = re.compile(
    rf"(?:^|\s)-[\w-]*{_WORD}[\w-]*[=\s]\S|{_WORD}[\w-]*=\S|\b(?:bearer|basic)\s+\S", re.IGNORECASE
)


def may_hold_secret(text: str) -> bool:
    """Whether it has a URL with a login or a query, or words that introduce a secret.

    By pattern: a secret in an unusual form is not found.
    """
    if "://" in text:
        for part in text.split():
            try:
                url = urlsplit(part.strip("'\""))
            except ValueError:
                return True
            if url.username is not None or url.password is not None or url.query:
                return True
    return _SECRETIVE.search(text) is not None
