"""What is measured on."""

from __future__ import annotations

import os
from pathlib import Path

from tests.benchmarks.machine import Cores, cores, pinned, this_machine, this_run


def test_this_machine_has_a_name(tmp_path: Path) -> None:
    machine = this_machine(tmp_path)
    assert machine.cores == os.cpu_count()
    assert machine.memory_mebibytes > 100
    assert len(machine.cpu) > 3
    assert machine.disk != "unknown"
    assert machine.cpu in machine.key
    assert machine.disk in machine.key


def test_a_run_names_the_commit(tmp_path: Path) -> None:
    run = this_run(this_machine(tmp_path), 3)
    assert len(run.commit.partition(",")[0]) == 10 or run.commit == "unknown"
    assert run.kernel == os.uname().release


def test_clients_have_another_core_than_the_server_where_there_are_two() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    found = cores()
    assert {found.server, found.clients, found.service} <= set(allowed)
    assert (found.server != found.clients) is (len(allowed) > 1)
    with pinned(allowed[0]):
        assert cores() == Cores(allowed[0], allowed[0], allowed[0])
    assert sorted(os.sched_getaffinity(0)) == allowed
