from __future__ import annotations

import os
from pathlib import Path

from infernet_edge.containers.supervision.usage import ContainerUsage, RunningContainer, usage_of

ID = "0123456789abcdef"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_memory_of_its_cgroup(tmp_path: Path) -> None:
    """Of both versions; files that are only cached do not count."""
    seen = RunningContainer(ID, 7, True, "", 5.0)
    write(tmp_path / "proc/7/cgroup", f"0::/machine.slice/libpod-{ID}.scope/container\n")
    group = tmp_path / f"sys/fs/cgroup/machine.slice/libpod-{ID}.scope/container"
    write(group / "memory.current", "1000\n")
    assert usage_of(seen, tmp_path) == ContainerUsage(1000, 5.0)
    write(group / "memory.stat", "anon 1\ninactive_file 300\n")
    assert usage_of(seen, tmp_path) == ContainerUsage(700, 5.0)
    # Where /proc hides it, Podman's path is enough.
    hidden = RunningContainer(ID, 7, False, f"/machine.slice/libpod-{ID}.scope/container", 5.0)
    assert usage_of(hidden, tmp_path) == ContainerUsage(700, 5.0)
    write(tmp_path / "proc/7/cgroup", f"4:memory:/libpod/{ID}\n3:cpu:/libpod/{ID}\n")
    group = tmp_path / f"sys/fs/cgroup/memory/libpod/{ID}"
    write(group / "memory.usage_in_bytes", "2000\n")
    write(group / "memory.stat", "inactive_file 100\ntotal_inactive_file 500\n")
    assert usage_of(seen, tmp_path) == ContainerUsage(1500, 5.0)


def test_without_a_cgroup_of_its_own_its_processes_count(tmp_path: Path) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    seen = RunningContainer(ID, 7, True, "", 5.0)
    write(tmp_path / "proc/7/cgroup", "0::/user.slice\n")
    write(tmp_path / "sys/fs/cgroup/user.slice/memory.current", "999\n")
    write(tmp_path / "proc/7/statm", "100 10 5 1 0 30 0\n")
    write(tmp_path / "proc/7/task/7/children", "8 9 ")
    write(tmp_path / "proc/8/statm", "100 1 5 1 0 30 0\n")
    assert usage_of(seen, tmp_path).memory == 11 * page
    assert usage_of(seen._replace(visible=False), tmp_path) == ContainerUsage(None, 5.0)


def test_the_age_is_that_of_the_process(tmp_path: Path) -> None:
    """A container that was adopted runs for longer than the node."""
    ticks = os.sysconf("SC_CLK_TCK")
    started = " ".join(["S", *["0"] * 18, str(100 * ticks)])
    write(tmp_path / "proc/7/stat", f"7 (a) b) {started} 0 0\n")
    write(tmp_path / "proc/uptime", "160.5 300.0\n")
    usage = usage_of(RunningContainer(ID, 7, True, "", 5.0), tmp_path)
    assert (usage.memory, usage.seconds) == (None, 60.5)


def test_whether_it_is_paused(tmp_path: Path) -> None:
    """By its cgroup, of both versions."""
    seen = RunningContainer(ID, 7, True, "", 5.0)
    write(tmp_path / "proc/7/cgroup", f"0::/machine.slice/libpod-{ID}.scope/container\n")
    events = tmp_path / f"sys/fs/cgroup/machine.slice/libpod-{ID}.scope/container/cgroup.events"
    for frozen in (0, 1):
        write(events, f"populated 1\nfrozen {frozen}\n")
        assert usage_of(seen, tmp_path).paused is bool(frozen)
    write(tmp_path / "proc/7/cgroup", f"4:memory:/libpod/{ID}\n3:freezer:/libpod/{ID}\n")
    state = tmp_path / f"sys/fs/cgroup/freezer/libpod/{ID}/freezer.state"
    for text in ("THAWED", "FREEZING", "FROZEN"):
        write(state, f"{text}\n")
        assert usage_of(seen, tmp_path).paused is (text == "FROZEN")


def test_the_time_of_processors_of_its_cgroup(tmp_path: Path) -> None:
    seen = RunningContainer(ID, 7, True, "", 5.0)
    write(tmp_path / "proc/7/cgroup", f"0::/machine.slice/libpod-{ID}.scope/container\n")
    group = tmp_path / f"sys/fs/cgroup/machine.slice/libpod-{ID}.scope/container"
    write(group / "cpu.stat", "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n")
    assert usage_of(seen, tmp_path).cpu == 2.5
    hidden = RunningContainer(ID, 7, False, f"/machine.slice/libpod-{ID}.scope/container", 5.0)
    assert usage_of(hidden, tmp_path).cpu == 2.5
    write(tmp_path / "proc/7/cgroup", f"4:memory:/libpod/{ID}\n3:cpu,cpuacct:/libpod/{ID}\n")
    write(tmp_path / f"sys/fs/cgroup/cpuacct/libpod/{ID}/cpuacct.usage", "1500000000\n")
    assert usage_of(seen, tmp_path).cpu == 1.5


def test_the_time_of_processors_of_its_processes(tmp_path: Path) -> None:
    """With that of the processes that have ended and were waited for."""
    ticks = os.sysconf("SC_CLK_TCK")
    seen = RunningContainer(ID, 7, True, "", 5.0)
    write(tmp_path / "proc/7/cgroup", "0::/user.slice\n")
    write(tmp_path / "sys/fs/cgroup/user.slice/cpu.stat", "usage_usec 9000000\n")
    write(tmp_path / "proc/7/task/7/children", "8")
    for pid, times in ((7, (1, 2, 3, 4)), (8, (1, 0, 0, 0))):
        used = " ".join(str(each * ticks) for each in times)
        write(tmp_path / f"proc/{pid}/stat", f"{pid} (a) S {'0 ' * 10}{used} 0 0 0 100 0\n")
    assert usage_of(seen, tmp_path).cpu == 11.0
    assert usage_of(seen._replace(visible=False), tmp_path).cpu is None


def test_of_this_process() -> None:
    usage = usage_of(RunningContainer(ID, os.getpid(), True, "", 5.0))
    assert usage.memory is not None
    assert 2**20 < usage.memory < 2**40
    assert usage.cpu is not None
    assert 0 < usage.cpu < 24 * 3600
    assert 0 < usage.seconds < 24 * 3600


def test_the_cpu_time_of_its_cgroup(tmp_path: Path) -> None:
    seen = RunningContainer(ID, 7, True, "", 5.0)
    write(tmp_path / "proc/7/cgroup", f"0::/machine.slice/libpod-{ID}.scope/container\n")
    group = tmp_path / f"sys/fs/cgroup/machine.slice/libpod-{ID}.scope/container"
    write(group / "cpu.stat", "usage_usec 2500000\nuser_usec 1\n")
    assert usage_of(seen, tmp_path).cpu == 2.5
    write(tmp_path / "proc/7/cgroup", f"3:cpuacct,cpu:/libpod/{ID}\n")
    write(tmp_path / f"sys/fs/cgroup/cpuacct/libpod/{ID}/cpuacct.usage", "1500000000\n")
    assert usage_of(seen, tmp_path).cpu == 1.5


def test_without_a_cgroup_the_times_of_its_processes_count(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    times = " ".join(["S", *["0"] * 10, str(ticks), str(ticks), str(ticks), "0", *["0"] * 8])
    write(tmp_path / "proc/7/stat", f"7 (a) b) {times}\n")
    write(tmp_path / "proc/7/statm", "100 10 5 1 0 30 0\n")
    assert usage_of(RunningContainer(ID, 7, True, "", 5.0), tmp_path).cpu == 3.0
