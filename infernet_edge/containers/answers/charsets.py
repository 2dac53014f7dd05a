"""Answers that are not in plain UTF-8: with a byte order mark, or in the charset of their type."""

from __future__ import annotations

import re
from typing import Final

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_CHARSET: Final = re.compile(r"""charset\s*=\s*["']?([\w.:-]+)""", re.IGNORECASE)
# Those that services declare. Python has others, which are no charsets or take long, as punycode.
_KNOWN: Final = re.compile(
    r"utf-?(16|32)(-?[lb]e)?|iso-?8859-?\d+|latin-?1|(windows-|cp)\d+|us-ascii|shift_jis|"
    r"euc-(jp|kr)|gb(2312|k|18030)|big5|koi8-[ru]",
    re.IGNORECASE,
)


def in_utf8(answer: bytes | bytearray, content_type: str) -> bytes | bytearray:
    """An answer in UTF-8, without a byte order mark; unchanged where that is not possible."""
    declared = _CHARSET.search(content_type)
    if declared and _KNOWN.fullmatch(declared[1]):
        try:
            return answer.decode(declared[1]).encode()
        except (UnicodeError, LookupError):
            return answer
    if answer.startswith(_BYTE_ORDER_MARK):
        return answer[len(_BYTE_ORDER_MARK) :]
    return answer
