"""The texts of everything that needs a person. Page, commands and metrics say these words."""

from __future__ import annotations

import datetime
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct

from infernet_edge import RELEASED
from infernet_edge.api.access.tokens import Tokens
from infernet_edge.api.overview.certificate import Certificate
from infernet_edge.api.overview.chain import ChainCondition
from infernet_edge.api.overview.forms import Attention, Level
from infernet_edge.clock import iso_time, milliseconds
from infernet_edge.containers.service import LAST_FAILED, Service
from infernet_edge.hardware.usage import MachineState

_DAY: Final = 24 * 3600 * 1000  # milliseconds
_RENEWAL_DAYS: Final = 14  # before the end of a certificate
_FEW_DAYS: Final = 7  # until the disk is full
_CLOCK_BEHIND: Final = 3600 * 1000  # milliseconds
_SILENT_SECONDS: Final = 300.0  # for which a container that runs may not answer
_LOOP: Final = "times in a row"  # in the reason of a container that keeps stopping
_FIX: Final = ". To fix it, "  # in reasons that have their remedy
_LARGEST: Final = "sudo du -xhd2 / | sort -h | tail -20"  # folders
_KILLED: Final = "exit code 137"


class FoundCondition(NamedTuple):
    """Something that needs attention, once it has lasted for so many seconds."""

    attention: Attention
    after: float = 0.0


class Facts(Struct, frozen=True):
    """What takes a moment to find out, as of a moment ago."""

    usage: MachineState = MachineState()
    days_left: float | None = None
    certificate: Certificate | None = None
    salvages: Sequence[tuple[Path, int, int | None]] = ()


def of_engine(problem: str) -> Iterator[FoundCondition]:
    """Podman cannot be used: one condition for all containers."""
    if problem:
        yield _found(
            "podman",
            "problem",
            "Podman cannot be used",
            _sentence(problem),
            "Install or start Podman; infernet-edge doctor says how. The node connects by itself.",
            command="infernet-edge doctor",
        )


def of_service(service: Service, engine_problem: str) -> Iterator[FoundCondition]:
    """A container that does not run, or does not answer."""
    name, reason = service.id, service.reason
    if service.state == "failed" and service.managed and reason != engine_problem:
        text, _, remedy = reason.partition(_FIX)
        loop = _LOOP in reason
        yield _found(
            f"container.{'crash_loop' if loop else 'failed'}:{name}",
            "problem",
            f"Container {name} {'keeps stopping' if loop else 'does not run'}",
            _sentence(text),
            _sentence(remedy or _container_fix(reason, loop=loop)),
            command=f"infernet-edge logs {name}" if loop else "",
            actions=["log", "restart"] if loop else ["restart", "pull"],
            container=name,
            since=service.since,
        )
    elif service.state == "failed" and not service.managed:
        yield _found(
            f"container.not_reached:{name}",
            "problem",
            f"Service {name} is not reached",
            _sentence(reason),
            f"Start the service at its url, or correct the url of container {name} in the"
            " configuration. The node tries it again by itself.",
            container=name,
            since=service.since,
        )
    elif service.state == "asleep" and LAST_FAILED in reason:
        text, _, remedy = reason.partition(LAST_FAILED)[2].partition(_FIX)
        yield _found(
            f"container.not_woken:{name}",
            "warning",
            f"Container {name} did not start when a job needed it",
            _sentence(text),
            _sentence(remedy or _container_fix(text, loop=False, by_itself=False)),
            command=f"infernet-edge logs {name}",
            actions=["restart", "pull"],
            container=name,
            since=service.since,
        )
    elif service.state == "starting" and reason.startswith("it does not answer yet"):
        silent = _found(
            f"container.silent:{name}",
            "warning",
            f"Container {name} does not get ready",
            _sentence(reason),
            "Read its log. If it listens on another port, set container_port; if it needs longer to"
            " load its model, wait.",
            command=f"infernet-edge logs {name}",
            actions=["log", "restart"],
            container=name,
            since=service.since,
        )
        startup = service.container.startup_timeout
        yield silent._replace(after=_SILENT_SECONDS if startup is None else startup)


def _container_fix(reason: str, *, loop: bool, by_itself: bool = True) -> str:
    if "startup_timeout" in reason:
        return "read its log; if it only needs longer to load its model, raise startup_timeout"
    if loop and _KILLED in reason:
        return "give it more memory (memory of the container in the configuration), or close others"
    if loop:
        return "read its log and correct the cause; the node starts it again by itself"
    again = "the node tries again by itself" if by_itself else "the next job tries again"
    return f"correct what this names; {again}"


def of_backups(problem: str) -> Iterator[FoundCondition]:
    """The last scheduled backup failed."""
    if problem:
        yield _found(
            "backup.failed",
            "problem",
            "No backup is made",
            _sentence(problem),
            "Connect the disk of backup.path, or free space on it; the node tries again within an"
            " hour.",
            command="infernet-edge doctor",
        )


def of_storage(
    refusal: str, folder: Path, *, writable: bool, problem: str = ""
) -> Iterator[FoundCondition]:
    """No job can be stored."""
    if refusal:
        limit = "max_bytes" in refusal
        yield _found(
            "storage.full",
            "problem",
            "New jobs are refused",
            _sentence(refusal),
            "Raise storage.max_bytes, or keep jobs for a shorter time: jobs.retention."
            if limit
            else "Free space on the disk: the largest folders are listed by the command.",
            command=f"du -xhd1 {shlex.quote(str(folder))}" if limit else _LARGEST,
        )
    if not writable:
        yield _found(
            "storage.not_written",
            "problem",
            "The database cannot be written",
            _sentence("The database cannot be written" + (f": {problem}" if problem else "")),
            "Check the disk: whether it is full, read-only or broken.",
            command="infernet-edge doctor",
        )


def of_salvages(salvages: Sequence[tuple[Path, int, int | None]]) -> Iterator[FoundCondition]:
    """Damaged databases that were replaced, and whose files are still there."""
    for kept, saved, total in salvages:
        rows = f"{saved} rows" if total is None else f"{saved} of {total} rows"
        unknown = ", how many were lost is not known" if total is None else ""
        yield _found(
            f"storage.salvaged:{kept.name}",
            "warning",
            "The database was damaged",
            f"The database was damaged: {rows} were saved{unknown}. The damaged file is kept as"
            f" {kept}; delete that file when you do not need it.",
            "Replace the disk if this happens again: SD cards wear out.",
            command=f"rm {shlex.quote(str(kept))}",
        )


def of_machine(usage: MachineState, days_left: float | None) -> Iterator[FoundCondition]:
    """A disk that fills up, a processor that is too hot, a power supply that is too weak."""
    if days_left is not None and days_left < _FEW_DAYS:
        many = f"{days_left:.0f} days" if days_left >= 2 else f"{days_left * 24:.0f} hours"
        yield _found(
            "disk.filling",
            "warning",
            "The disk will be full soon",
            f"At the pace of the last day it is full in about {many}.",
            "Free space on the disk, or use a larger one.",
            command=_LARGEST,
        )
    if usage.throttled:
        yield _found(
            "machine.hot",
            "warning",
            "The machine is slowed down by heat",
            "Its processor is too hot, so it runs slower, and jobs take longer.",
            "Improve its cooling.",
        )
    if usage.under_voltage:
        yield _found(
            "machine.under_voltage",
            "warning",
            "The power supply is too weak",
            "The voltage is too low now. The machine may stop, and damage what is on its disk.",
            "Use the power supply that belongs to this machine, and a short cable.",
        )


def of_clock(latest: int) -> Iterator[FoundCondition]:
    """A date that is wrong; `latest` is the latest time that the node ever saw."""
    now = milliseconds()
    released = datetime.datetime.fromisoformat(RELEASED).replace(tzinfo=datetime.UTC)
    if now < released.timestamp() * 1000:
        text = f"This version was made on {RELEASED}, and the date of this machine is before that."
    elif latest - now > _CLOCK_BEHIND:
        text = "It shows an earlier time than it did before: it is behind now, or was ahead then."
    else:
        return
    yield _found(
        "clock.wrong",
        "problem",
        "The clock of this machine is wrong",
        text,
        "Set the date, and let a time server keep it.",
        command="sudo timedatectl set-ntp true",
    )


def of_certificate(certificate: Certificate | None) -> Iterator[FoundCondition]:
    """The certificate of server.tls ends soon, or has ended."""
    if certificate is None or certificate.not_after is None:
        return
    left = certificate.not_after - milliseconds()
    if left > _RENEWAL_DAYS * _DAY:
        return
    ended = left <= 0
    day = _day(certificate.not_after)
    yield _found(
        "tls.ended" if ended else "tls.ends",
        "problem" if ended else "warning",
        "The certificate has expired" if ended else "The certificate expires soon",
        f"The certificate of server.tls {'was' if ended else 'is'} valid until {day} (UTC).",
        "Renew it, then let the node read it again.",
        command="sudo systemctl reload infernet-edge",
    )


def of_tasks(problems: Iterable[str]) -> Iterator[FoundCondition]:
    """Background tasks that fail again and again."""
    for problem in problems:
        name = problem.partition("'")[2].partition("'")[0]
        yield _found(
            f"task:{name}",
            "problem",
            f"A part of the node fails: {name}",
            _sentence(problem),
            "Restart the node. If it continues, report it with the log.",
            command="journalctl -u infernet-edge -n 200",
        )


def of_hosts(names: Sequence[str]) -> Iterator[FoundCondition]:
    """Host names that were used and are not allowed."""
    if names:
        listed = ", ".join(names)
        yield _found(
            "hosts.refused",
            "warning",
            "Requests for other host names were refused",
            f"Requests for the host {listed} were refused.",
            "If it is a name of this node, add it to server.allowed_hosts.",
        )


def of_tokens(tokens: Tokens) -> Iterator[FoundCondition]:
    """What is wrong with the tokens, and those that expire soon or have expired."""
    for number, problem in enumerate(tokens.problems):
        yield _found(
            f"tokens.problem{f':{number}' if number else ''}",
            "warning",
            "The tokens need a correction",
            _sentence(problem),
            "Correct what this names; infernet-edge token list shows all tokens.",
            command="infernet-edge token list",
        )
    now = tokens.date
    for grant in tokens.grants:
        if grant.expires_at is None or grant.expires_at - now > _RENEWAL_DAYS * _DAY:
            continue
        ended = grant.expires_at <= now
        if now - grant.expires_at > _RENEWAL_DAYS * _DAY:
            continue  # the client does without it
        yield _found(
            f"token.{'expired' if ended else 'expires'}:{grant.name}",
            "warning",
            f"The token {grant.name} {'has expired' if ended else 'expires soon'}",
            f"The token {grant.name} {'was' if ended else 'is'} valid until"
            f" {_day(grant.expires_at)} (UTC).",
            "Make another one, and give it to the client; or revoke this one.",
            command="infernet-edge token list",
            actions=["renew_token"],
        )


def of_access(*, open_to_network: bool) -> Iterator[FoundCondition]:
    """A node that everybody in the network may use."""
    if open_to_network:
        yield _found(
            "access.open",
            "warning",
            "Anybody in your network can use this node",
            "It has no tokens, so that everybody who reaches it can run jobs.",
            "Make a token. Clients need one from then on.",
            command="infernet-edge token new anna --scope operator",
        )


class _ChainText(NamedTuple):
    level: Level
    title: str
    fix: str


_CHAIN: Final = {
    "containers": _ChainText(
        "problem",
        "No subscription can be served",
        "Configure a container with external = true.",
    ),
    "rpc": _ChainText(
        "problem",
        "The chain cannot be reached",
        "Check the network and chain.rpc_url. The node connects by itself.",
    ),
    "head": _ChainText(
        "problem", "The head of the chain cannot be read", "Check the server of chain.rpc_url."
    ),
    "still": _ChainText(
        "problem",
        "The chain stands still",
        "Check the clock of this machine, and add a second server to chain.rpc_url.",
    ),
    "server": _ChainText(
        "warning",
        "A JSON-RPC server has a problem",
        "Correct what this names, or use another server in chain.rpc_url.",
    ),
    "contracts": _ChainText(
        "problem", "The contracts cannot be read", "Check chain.registry_address and chain.rpc_url."
    ),
    "account": _ChainText(
        "problem", "The account needs something", "Correct what this names, then wait a minute."
    ),
    "funds": _ChainText(
        "warning", "Transactions wait, or soon will", "Send the account coins, or raise the limit."
    ),
}


def of_chain(conditions: Iterable[ChainCondition]) -> Iterator[FoundCondition]:
    """What prevents deliveries."""
    count: Counter[str] = Counter()
    for each in conditions:
        known, number = _CHAIN[each.kind], count[each.kind]
        count[each.kind] += 1
        subject = each.subject or (str(number) if number else "")
        yield _found(
            f"chain.{each.kind}{':' if subject else ''}{subject}",
            known.level,
            known.title,
            _sentence(each.text),
            known.fix,
            command="infernet-edge doctor" if each.kind in ("rpc", "head", "contracts") else "",
        )


def _found(
    name: str,
    level: Level,
    title: str,
    text: str,
    fix: str,
    *,
    command: str = "",
    actions: Sequence[str] = (),
    container: str | None = None,
    since: int = 0,
) -> FoundCondition:
    return FoundCondition(
        Attention(
            id=name,
            level=level,
            title=title,
            text=text,
            fix=fix,
            command=command,
            actions=list(actions),
            container=container,
            since=since,
        )
    )


def _day(moment: int) -> str:
    """The date of a time in milliseconds."""
    return iso_time(moment).partition("T")[0]


def _sentence(text: str) -> str:
    """A reason as a sentence of its own."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")
