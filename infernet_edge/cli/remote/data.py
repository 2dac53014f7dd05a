"""What a job is to do, from the arguments of a command: its containers, its input, its options."""

from __future__ import annotations

import argparse
import sys
from typing import Final

import msgspec

from infernet_edge.cli.remote.address import WrongUsage
from infernet_edge.config.values.json_errors import json_error

_MAX_DATA: Final = 2**30  # bytes; the node has a lower limit, server.max_body_bytes
_EXAMPLE: Final = """'{"prompt": "hello"}'"""


def request_body(
    arguments: argparse.Namespace, containers: list[str], options: dict[str, int]
) -> list[bytes]:
    """The parts of a JobRequest, whose data is sent as it was given. Raises WrongUsage."""
    data = _data(arguments)
    head = b'{"containers":%s,' % msgspec.json.encode(containers)
    if options:
        head += b'"options":%s,' % msgspec.json.encode(options)
    return [head + b'"data":', data, b"}"]


def _data(arguments: argparse.Namespace) -> bytes:
    if arguments.file is not None and arguments.data is not None:
        raise WrongUsage("DATA and --file are both the input: leave out one of them")
    if arguments.file is not None:
        place = f"--file {arguments.file}"
        try:
            with arguments.file.open("rb") as file:
                data = file.read(_MAX_DATA + 1)
        except OSError as error:
            raise WrongUsage(f"{place}: it cannot be read ({error.strerror})") from None
    elif arguments.data == "-":
        place = "stdin"
        data = sys.stdin.buffer.read(_MAX_DATA + 1)
    else:
        place = "DATA"
        data = (arguments.data or "{}").encode("utf-8", "surrogateescape")
    return _checked(data, place)


def _checked(data: bytes, place: str) -> bytes:
    """The data, when it is a JSON object. Raises WrongUsage."""
    if len(data) > _MAX_DATA:
        raise WrongUsage(f"{place}: expected at most {_MAX_DATA} bytes")
    expected = f"{place}: expected a JSON object, such as {_EXAMPLE}; found"
    try:
        msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except UnicodeDecodeError:
        raise WrongUsage(f"{expected} bytes that are not UTF-8") from None
    except RecursionError:
        raise WrongUsage(f"{expected} values nested too deeply") from None
    except msgspec.ValidationError:
        raise WrongUsage(f"{expected} another value") from None
    except msgspec.DecodeError as error:
        if not data.strip():
            raise WrongUsage(f"{expected} nothing") from None
        text = data.decode("utf-8", "replace")
        raise WrongUsage(f"{expected} no JSON {json_error(text, str(error))}") from None
    return data
