"""Whether a container's answer is JSON."""

from __future__ import annotations

import msgspec

from infernet_edge.containers.answers.charsets import in_utf8
from infernet_edge.containers.answers.failures import ContainerFailure
from infernet_edge.containers.answers.numbers import has_numbers, replace_numbers
from infernet_edge.containers.answers.pages import is_page, page_text
from infernet_edge.validation import is_utf8

_MAX_SHOWN = 4096  # bytes of another answer that are looked at, for what is shown of it

_json = msgspec.json.Decoder(msgspec.Raw)


def is_json(answer: bytes | bytearray) -> bool:
    """Whether it is JSON text in UTF-8."""
    try:
        _json.decode(answer)
        return is_utf8(answer)
    except (msgspec.DecodeError, RecursionError):
        return False


def json_output(
    answer: bytes | bytearray, content_type: str, *, keep_numbers: bool
) -> bytes | bytearray:
    """An answer that is JSON text in UTF-8, apart from NaN and Infinity, which become `null`.

    Also one with a byte order mark, or in the charset that it declares. With `keep_numbers` NaN
    and Infinity are kept. The result may be a third longer. Raises ContainerFailure for
    all else. Blocks: takes 10 ms of CPU per MB with such numbers, more where it is short strings.
    """
    if is_json(answer):
        return answer
    answer = in_utf8(answer, content_type)
    if is_json(answer):
        return answer
    if has_numbers(answer):
        replaced = replace_numbers(answer)
        if is_json(replaced):
            return answer if keep_numbers else replaced
    kind = content_type or "no content type"
    shown = answer[:_MAX_SHOWN].decode("utf-8", "replace")
    page = is_page(shown, kind)
    shown = page_text(shown) if page else shown[:200].strip() or "it is empty"
    raise ContainerFailure(f"Container's answer is not JSON ({kind}): {shown}", unexplained=page)
