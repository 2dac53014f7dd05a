"""Reads the configuration again, and reports what was applied."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, NamedTuple

from infernet_edge.config.errors import ConfigurationError, Information
from infernet_edge.config.keys.changes import change_of, changed_keys, effective
from infernet_edge.config.loading import Loaded
from infernet_edge.config.model import Config
from infernet_edge.config.path_checks import certificate_problem
from infernet_edge.errors import StartupError
from infernet_edge.http_client.authorities import read_authorities
from infernet_edge.logs import log_event
from infernet_edge.schema import ReloadReport
from infernet_edge.tasks import BlockingReads

logger = logging.getLogger(__name__)

_READ_TIMEOUT: Final = 30.0  # seconds for the files of the configuration
_SLOW: Final = "The configuration cannot be read now: does its disk answer? Try again"
_STOPPING: Final = "The node is shutting down"
_NO_SOURCE: Final = "This node was not started from a configuration that can be read again"


class Prepared(NamedTuple):
    """A configuration that can be put in force, at once.

    `applied` are keys whose files have other contents; their values may be the same.
    """

    put_in_force: Callable[[], None]
    applied: list[str]


Prepare = Callable[[Config], Awaitable[Prepared]]


class Reloader:
    """Reloads, one at a time; `config` is the configuration in force."""

    def __init__(self, config: Config, load: Callable[[], Loaded] | None, prepare: Prepare) -> None:
        """`load` reads the configuration, and blocks. `prepare` does everything for a new one that
        may fail, with StartupError, and returns what puts it in force at once."""
        self.config = config
        self._load = load
        self._prepare = prepare
        self._lock = asyncio.Lock()
        self._reads = BlockingReads(_READ_TIMEOUT)
        self._stopping = False

    async def reload(self) -> ReloadReport:
        """Apply what changed; nothing when the configuration, or a part of it, cannot be used."""
        async with self._lock:
            report = await self._reload()
        if report.problems:
            reason = "; ".join(report.problems)
            log_event(logger, "node.reload_failed", logging.ERROR, reason=reason)
            return report
        for note in report.notes:
            log_event(logger, "config.warning", logging.WARNING, text=note)
        log_event(
            logger,
            "node.reloaded",
            applied=",".join(report.applied),
            needs_restart=",".join(report.needs_restart),
        )
        return report

    async def _reload(self) -> ReloadReport:
        if self._load is None:
            return ReloadReport(problems=[_NO_SOURCE])
        try:
            loaded = await self._reads.run(self._load)
            after = effective(self.config, loaded.config)
            if problem := await self._reads.run(partial(certificate_problem, after.server)):
                return ReloadReport(problems=[str(problem)])
            await self._reads.run(partial(read_authorities, after))
            async with asyncio.timeout(_READ_TIMEOUT):
                prepared = await self._prepare(after)
        except ConfigurationError as error:
            return ReloadReport(problems=[str(problem) for problem in error.problems])
        except StartupError as error:
            return ReloadReport(problems=[str(error)])
        except TimeoutError:
            return ReloadReport(problems=[_SLOW])
        if self._stopping:
            return ReloadReport(problems=[_STOPPING])
        keys = changed_keys(self.config, loaded.config)
        applied = [key for key in keys if change_of(key) == "reload"]
        applied += [key for key in prepared.applied if key not in applied]
        if after.server.tls is not None:  # its files are read again in any case
            applied.append("server.tls")
        self.config = after
        prepared.put_in_force()
        needs_restart = [key for key in keys if change_of(key) == "restart"]
        notes = [str(each) for each in loaded.warnings if not isinstance(each, Information)]
        return ReloadReport(applied, needs_restart, notes=notes)

    def stop(self) -> None:
        """Apply nothing from now on."""
        self._stopping = True
