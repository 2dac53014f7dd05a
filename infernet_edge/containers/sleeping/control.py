"""Starts containers when jobs wait for them, and stops those that no job needs."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Final

from infernet_edge.config.model import Config
from infernet_edge.config.values.sleep import may_sleep
from infernet_edge.containers.service import LAST_FAILED, Service
from infernet_edge.containers.sleeping.decision import State, decide
from infernet_edge.containers.sleeping.member import Gates, Member
from infernet_edge.containers.supervisor import Supervisor
from infernet_edge.containers.timing import Timing
from infernet_edge.logs import log_event, log_exception
from infernet_edge.tasks import cancel

logger = logging.getLogger(__name__)

_ASLEEP: Final = "it starts when a job needs it"
_WAITING: Final = "jobs wait for it; it starts when there is room"
_REQUESTED: Final = "an operator restarted it; it starts when there is room"
_STOPPING: Final = "it is being stopped; it starts again when a job needs it"

Work = Callable[[Member, Supervisor], Coroutine[None, None, None]]


class SleepControl:
    """Starts and stops the containers that may sleep; `decide` says which.

    The jobs of a container that does not run wait in its queue. Nothing is done, and no timer runs,
    while no job waits and no `idle_timeout` passes.
    """

    def __init__(
        self,
        config: Config,
        services: Mapping[str, Service],
        supervisors: Mapping[str, Supervisor],
        gates: Gates,
        timing: Timing,
        problem: str = "",
    ) -> None:
        """`services` and `supervisors` are the manager's, by id; `problem` is that of Podman."""
        self._config = config
        self._services = services
        self._supervisors = supervisors
        self._gates = gates
        self._timing = timing
        self._members: dict[Service, Member] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_scheduled = False
        self._is_started = False
        self._problem = problem  # why Podman cannot be used
        self.apply(config)

    def start(self) -> None:
        """Begin: the supervisors of all containers exist."""
        self._is_started = True
        self._schedule()

    async def stop(self) -> None:
        """Start and stop nothing from now on. May be called twice."""
        self._is_started = False
        self._end_timer()
        for member in self._members.values():
            member.end_retry()
            member.gate.watch(None)
        await cancel(*(each.task for each in self._members.values() if each.task is not None))

    def apply(self, config: Config) -> None:
        """Use this configuration, with the present services."""
        self._config = config
        present = set(self._services.values())
        for service, member in list(self._members.items()):
            if service not in present:
                self._note_removal(member)
            elif not may_sleep(service.container, config):
                self._leave(member)
            elif member.is_removed:
                self._come_back(member)
        for service in self._services.values():
            if service not in self._members and may_sleep(service.container, config):
                self._join(service)
        self._schedule()

    def join(self) -> None:
        """Another service is managed from now on; its supervisor does not exist yet."""
        self.apply(self._config)

    def attach(self, supervisor: Supervisor) -> None:
        """A supervisor was made: it starts no container by itself, if that may sleep."""
        if (member := self._members.get(supervisor.service)) is not None:
            supervisor.rest.on_request = functools.partial(self._request, member)
            supervisor.rest.begin()
        self._schedule()

    def connected(self) -> None:
        """Podman can be used again."""
        if not self._problem:
            return
        self._problem = ""
        for member in self._members.values():
            if member.state in ("asleep", "stopping") and not member.is_removed:
                member.end_retry()
                if member.state == "stopping":
                    member.service.set_asleep(_STOPPING)
                self._let_wait(member)
                self._on_change(member)

    def disconnected(self, problem: str) -> None:
        """Podman cannot be used: what does not run cannot be started, so its jobs fail.

        This is called after each attempt to connect. Those that wait already stay until the second
        one fails: Podman may only have been restarted.
        """
        is_lasting, self._problem = bool(self._problem), problem
        if not self._is_started or not is_lasting:
            return
        for member in self._members.values():
            if member.state in ("asleep", "stopping") and not member.is_removed:
                self._let_wait(member)
        self._schedule()

    def removed(self, service: Service) -> None:
        """The container of a service was removed, with its supervisor."""
        member = self._members.pop(service, None)
        if member is not None:
            self._release(member)
            if member.task is not None:
                member.task.cancel()
        self._schedule()

    def _join(self, service: Service) -> None:
        member = self._members[service] = Member(service, self._gates.of(service), self._timing)
        member.gate.watch(functools.partial(self._on_change, member))
        service.may_sleep = True
        if (supervisor := self._supervisor(member)) is not None:  # it runs
            supervisor.rest.on_request = functools.partial(self._request, member)
            member.state = "awake"
            return
        if service.container.start == "always":
            member.requested, member.wanted_since = True, time.monotonic()
        self._let_wait(member)
        self._on_change(member)

    def _leave(self, member: Member) -> None:
        """It may not sleep any more."""
        service = member.service
        del self._members[service]
        supervisor = self._supervisor(member)
        if supervisor is not None and member.state == "asleep":
            self._keep_running(service, supervisor)
        self._release(member)

    def _note_removal(self, member: Member) -> None:
        """Its jobs do not wait for a start: they fail. It counts until its container is removed."""
        member.is_removed, member.wanted_since = True, None
        self._let_go(member)

    def _come_back(self, member: Member) -> None:
        """It was removed, and is configured again before its container was removed."""
        member.is_removed = False
        member.gate.watch(functools.partial(self._on_change, member))
        if member.state != "awake":
            self._let_wait(member)
        self._on_change(member)

    def _release(self, member: Member) -> None:
        member.is_member = member.service.may_sleep = False
        self._let_go(member)

    def _let_go(self, member: Member) -> None:
        member.end_retry()
        member.gate.watch(None)
        member.gate.open()

    def _let_wait(self, member: Member) -> None:
        """Let jobs wait for its start; while Podman cannot be used they fail at once."""
        if self._problem:
            member.service.set_failed(self._problem)
            member.gate.open()
        else:
            member.gate.close()
            self._show_asleep(member)

    def _keep_running(self, service: Service, supervisor: Supervisor) -> None:
        service.set_starting("it does not sleep any more")
        supervisor.wake()

    def _supervisor(self, member: Member) -> Supervisor | None:
        supervisor = self._supervisors.get(member.service.id)
        is_its = supervisor is not None and supervisor.service is member.service
        return supervisor if is_its else None

    def _request(self, member: Member) -> None:
        """An operator wants it to run."""
        member.end_retry()
        member.failures.reset()
        member.requested = member.by_operator = True
        if member.wanted_since is None:
            member.wanted_since = time.monotonic()
        member.gate.close()
        self._show_asleep(member)
        self._schedule()

    def _on_change(self, member: Member) -> None:
        """Jobs begin or cease to wait for it, or its last job has ended."""
        if member.state == "awake":
            if not member.has_jobs:
                member.idle_since = time.monotonic()
        elif member.state != "waking" and member.retry is None and not member.requested:
            if not member.has_jobs:
                member.wanted_since = None
            elif member.wanted_since is None:
                member.wanted_since = time.monotonic()
        self._schedule()

    def _schedule(self) -> None:
        if self._is_started and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._decide)

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _decide(self) -> None:
        self._is_scheduled = False
        self._end_timer()
        if not self._is_started:
            return
        if self._problem:
            self._decide_without_podman()
            return
        # A removed container may have the id of one that was added later.
        members = {f"{at}": each for at, each in enumerate(self._members.values())}
        turn, now = self._timing.turn, time.monotonic()
        standings = [
            each.standing(name, turn, can_start=self._supervisor(each) is not None)
            for name, each in members.items()
        ]
        decision = decide(standings, self._config.max_running, now)
        closed = {*decision.stop, *decision.hold}
        for name, member in members.items():
            if member.state == "awake" and (name in closed) != member.gate.is_closed:
                if name in closed:
                    member.gate.close()
                else:
                    member.gate.open()
            elif name not in decision.wake:
                self._show_asleep(member)
        for name in decision.stop:
            self._begin(members[name], "stopping", self._put_to_sleep)
        for name in decision.wake:
            self._begin(members[name], "waking", self._wake)
        if decision.again is not None:
            delay = max(0.0, decision.again - now) + 0.001  # not before that moment
            self._timer = asyncio.get_running_loop().call_later(delay, self._decide)

    def _decide_without_podman(self) -> None:
        """Nothing can be started or stopped: those that run go on."""
        for member in self._members.values():
            if member.state == "awake" and member.gate.is_closed:
                member.gate.open()

    def _begin(self, member: Member, state: State, work: Work) -> None:
        if (supervisor := self._supervisor(member)) is None:
            return
        member.state, member.for_jobs = state, member.has_jobs
        doing = self._do(work, member, supervisor, member.task)
        name = f"container {member.service.id}: {state}"
        task = member.task = asyncio.create_task(doing, name=name)
        task.add_done_callback(functools.partial(self._ended, member))

    async def _do(
        self,
        work: Work,
        member: Member,
        supervisor: Supervisor,
        before: asyncio.Task[None] | None,
    ) -> None:
        """Do this, after ending what goes on: a start of which all jobs were cancelled."""
        if before is not None and not before.done():
            await cancel(before)
        await work(member, supervisor)

    def _ended(self, member: Member, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        log_exception(logger, "container.sleep_crashed", error, container=member.service.id)
        member.state = "awake"  # the next decision stops it again, if that is needed
        self._schedule()

    async def _put_to_sleep(self, member: Member, supervisor: Supervisor) -> None:
        service, began = member.service, time.monotonic()
        if not self._problem:
            service.set_asleep(_STOPPING)
        member.wanted_since = began if member.has_jobs else None
        await supervisor.sleep()
        if not member.is_member:
            self._keep_running(service, supervisor)
            return
        member.state = "asleep"
        log_event(
            logger,
            "container.asleep",
            container=service.id,
            seconds=round(time.monotonic() - began, 2),
            waiting=member.gate.waiting,
        )
        self._show_asleep(member)
        self._on_change(member)

    async def _wake(self, member: Member, supervisor: Supervisor) -> None:
        """Start a container. Where jobs wait for that, its start may fail, and they with it."""
        service, began, for_jobs = member.service, time.monotonic(), member.for_jobs
        waiting = member.gate.waiting
        member.wanted_since, member.requested, member.by_operator = None, False, False
        service.is_waking = True
        service.set_starting("it is being started" + (" for a job" if for_jobs else ""))
        log_event(logger, "container.waking", container=service.id, waiting=waiting)
        supervisor.wake()
        if not for_jobs:
            member.gate.open()
        container = service.container
        limit = container.startup_timeout or container.timeout
        try:
            async with asyncio.timeout(limit):
                await service.wait_settled()
        except TimeoutError:
            if for_jobs and member.is_member:
                named = f"startup_timeout ({limit:g} s)"
                if container.startup_timeout is None:
                    named = f"timeout ({limit:g} s; startup_timeout sets another limit)"
                why, stop = service.reason, supervisor.pauses.last_stop
                if stop and stop not in why:
                    why = f"{why}; before that {stop}"
                service.set_failed(f"it was not ready within {named}: {why}")
        finally:
            service.is_waking = False
        if not member.is_member:
            return
        seconds = time.monotonic() - began
        if for_jobs and service.state == "failed":
            await self._give_up(member, supervisor)
            return
        member.state, member.problem = "awake", ""
        member.ready_since = member.idle_since = time.monotonic()
        member.start_seconds = seconds
        if service.is_up:
            member.failures.reset()
            log_event(logger, "container.woken", container=service.id, seconds=round(seconds, 2))
        member.gate.open()
        self._schedule()

    async def _give_up(self, member: Member, supervisor: Supervisor) -> None:
        """Let the jobs of a container that did not start fail, now and for a while."""
        service, pause = member.service, member.failures.next()
        member.problem = service.reason
        log_event(
            logger,
            "container.wake_failed",
            logging.ERROR,
            container=service.id,
            reason=service.reason,
            next_attempt_seconds=pause,
        )
        member.state = "stopping"
        member.retry = asyncio.get_running_loop().call_later(pause, self._try_again, member)
        member.gate.open()
        await supervisor.sleep()
        if member.is_member:
            member.state = "asleep"
            self._on_change(member)
        else:
            self._keep_running(service, supervisor)

    def _try_again(self, member: Member) -> None:
        """From now on a job starts it again."""
        member.retry = None
        if member.is_removed:
            return
        self._let_wait(member)
        self._on_change(member)

    def _show_asleep(self, member: Member) -> None:
        """Show the state of one that is asleep, unless it failed a moment ago."""
        if member.state != "asleep" or member.retry is not None or member.is_removed:
            return
        if self._problem:
            return
        reason = _REQUESTED if member.by_operator else _WAITING if member.has_jobs else _ASLEEP
        if member.problem:
            reason = f"{reason}; {LAST_FAILED}{member.problem}"
        if (member.service.state, member.service.reason) != ("asleep", reason):
            member.service.set_asleep(reason)
