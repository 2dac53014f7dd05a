"""Why a node did not do what a command asked for, and what to do about it."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import Any, Final

import msgspec

from infernet_edge.cli.remote.address import TOKEN_VARIABLE, NodeAddress
from infernet_edge.config.host_names import is_loopback
from infernet_edge.errors import InfernetEdgeError

_MAX_TEXT: Final = 2000  # characters of a text of the server that are shown


class NodeError(InfernetEdgeError):
    """The node did not do what was asked for; the text says why and what to do."""


class NodeUnreachable(NodeError):
    """There was no whole answer; `reached` when the request may have arrived.

    `timed_out` when nothing came in time on a connection that was not lost.
    """

    def __init__(self, text: str, *, reached: bool = False, timed_out: bool = False) -> None:
        super().__init__(text)
        self.reached = reached
        self.timed_out = timed_out


class NodeRefused(NodeError):
    """The node answered with an error; `retry_after` is what it asks to wait, in seconds."""

    def __init__(self, text: str, status: int, params: dict[str, Any], retry_after: int) -> None:
        super().__init__(text)
        self.status = status
        self.params = params
        self.retry_after = retry_after


def not_connected(address: NodeAddress, error: Exception) -> NodeUnreachable:
    """The failure to open a connection."""
    if address.socket is not None:
        return NodeUnreachable(_no_socket(address, error))
    return NodeUnreachable(f"Cannot reach {address.name}: {_reason(address, error)}")


def _no_socket(address: NodeAddress, error: Exception) -> str:
    assert address.socket is not None
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return (
            f"No node runs with the storage {address.socket.parent}."
            " Start one with: infernet-edge run (or name its configuration with --config, or"
            " another machine with --url)"
        )
    if isinstance(error, PermissionError):
        return (
            f"{address.socket} belongs to another user: run this command as the user of the node,"
            " or use its API: --url http://127.0.0.1:4000"
        )
    return f"The node does not answer on {address.socket}: {error}. Use its API with --url"


def _reason(address: NodeAddress, error: Exception) -> str:
    """Why a URL cannot be reached, and what to change."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error)
    if isinstance(error, ssl.SSLError):
        if "WRONG_VERSION_NUMBER" in str(error) or "PACKET_LENGTH" in str(error):
            return f"it does not speak TLS. Use http://{address.authority_form}"
        return f"TLS failed ({error.reason or error})"
    if isinstance(error, socket.gaierror | UnicodeError):
        return (
            f"the name {address.host} is not known here. Check its spelling, or use the address of"
            " the machine; infernet-edge status on that machine lists both"
        )
    if isinstance(error, TimeoutError):
        return (
            "it does not answer. Check that the machine runs, is in this network, and that no"
            " firewall blocks the port"
        )
    if isinstance(error, ConnectionRefusedError):
        text = f"nothing listens at port {address.port}. Check the port (a node has 4000 unless"
        text += " server.port says otherwise), and that the node runs"
        if not is_loopback(address.host):
            text += " and is open to other machines (server.host is not 127.0.0.1)"
        return text
    if isinstance(error, OSError):
        return f"{error.strerror or error}. Check the address, and the network of this machine"
    return str(error)


def _certificate(error: ssl.SSLCertVerificationError) -> str:
    reason = error.verify_message or "not valid"
    if "match" in reason or "mismatch" in reason:
        return f"its certificate is for another name ({reason}). Use a name that it has in --url"
    if "expired" in reason or "not yet valid" in reason:
        return f"its certificate is not valid now ({reason}). Check the clock of this machine too"
    return (
        f"its certificate is not trusted ({reason}). Copy the certificate of the node"
        " (server.tls.cert) or of its authority to this machine, and name it: --cacert FILE"
    )


def lost(address: NodeAddress, error: Exception) -> NodeUnreachable:
    """The failure of a connection on which a request was sent."""
    if isinstance(error, TimeoutError):
        text = f"{address.name} did not answer in time"
    elif isinstance(error, http.client.HTTPException):
        text = f"{address.name} did not answer as an Infernet node does"
        if isinstance(error, http.client.RemoteDisconnected | http.client.IncompleteRead):
            text = f"{address.name} closed the connection before its answer was complete"
    else:
        reason = error.strerror if isinstance(error, OSError) else None
        text = f"The connection to {address.name} was lost ({reason or error})"
    return NodeUnreachable(text, reached=True, timed_out=isinstance(error, TimeoutError))


def refusal(
    address: NodeAddress, status: int, retry_after: str, body: bytes | bytearray
) -> NodeError:
    """The error in an answer whose status is not 2xx."""
    text, params = _error_response(body)
    wait = min(int(retry_after), 10**6) if retry_after.isascii() and retry_after.isdigit() else 0
    if not text:
        text = f"{address.name} answered {status} {http.client.responses.get(status, '')}".rstrip()
        text += ", not as an Infernet node does. Check the URL, and proxies before the node"
    elif status == http.client.UNAUTHORIZED:
        sent = "did not accept this token" if address.token else "needs a token"
        text = (
            f"{address.name} {sent}: {text}. Put it in {TOKEN_VARIABLE}, or in a file for"
            " --token-file. To make one on the node: infernet-edge token new NAME --scope submit"
            " (or --scope operator, for what only operators may do)"
        )
    elif wait:
        text = f"{text}. Try again in {wait} s"
    return NodeRefused(text, status, params, wait)


def _error_response(body: bytes | bytearray) -> tuple[str, dict[str, Any]]:
    """The text and parameters of an ErrorResponse; "" when it is none."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "", {}
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, str):
        return "", {}
    params = answer.get("params")
    params = params if isinstance(params, dict) else {}
    text = error[:_MAX_TEXT]
    # What is wrong with a job: `Container not supported` has the container in its parameters.
    named = [f"{key} {value}" for key, value in params.items() if isinstance(value, str)]
    shown = [each for each in named if each.partition(" ")[2] not in text]
    return text.rstrip(".") + (f" ({', '.join(shown)[:_MAX_TEXT]})" if shown else ""), params
