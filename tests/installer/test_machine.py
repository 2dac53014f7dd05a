"""The service on a real machine with systemd. One machine for all: the tests follow each other."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

import pytest

from tests.support.machine import ECHO_IMAGE, Machine

pytestmark = pytest.mark.timeout(400)  # the first makes the executable and the machine

CONFIG: dict[str, Any] = {
    "server": {"rate_limit": {"num_requests": 0}},
    "storage": {"path": "/var/lib/infernet-edge", "min_free_bytes": 0},
    "containers": [{"id": "echo", "image": ECHO_IMAGE}],
}
PROGRAM = "/root/infernet-edge"
UNITS = "/etc/systemd/system"
UNIT = f"{UNITS}/infernet-edge.service"

# A newer version is the installed one with another number. What is said with "run" can be changed.
NEWER = """\
#!/bin/sh
case "$1 $2" in
"version ") echo "infernet-edge {version} (speaks Infernet 1.4.0)" ;;
"service unpack")
    cp --archive /opt/infernet-edge/0.1.0/. "$3"
    mv "$3/infernet-edge" "$3/real"
    cp "$0" "$3/infernet-edge" ;;
"run ") {run} ;;
*) exec "$(dirname "$(readlink -f "$0")")/real" "$@" ;;
esac
"""
REAL_RUN = 'exec "$(dirname "$(readlink -f "$0")")/real" run'


def newer(machine: Machine, version: str, run: str = REAL_RUN) -> str:
    """Put an executable of that version on the machine; returns its path there."""
    file = machine.shared / f"infernet-edge-{version}"
    file.write_text(NEWER.format(version=version, run=run))
    file.chmod(0o755)
    return f"/root/shared/{file.name}"


def install(machine: Machine, *options: str) -> str:
    given = machine.shared / "config.json"
    given.write_text(json.dumps(CONFIG))
    return machine.run(
        PROGRAM, "service", "install", "--config", f"/root/shared/{given.name}", *options
    )


def test_a_dry_run_tells_all_and_changes_nothing(machine: Machine) -> None:
    told = install(machine, "--dry-run")
    assert "Write /etc/systemd/system/infernet-edge.service (mode 0644)" in told
    assert "    ExecStart=/opt/infernet-edge/current/infernet-edge run" in told
    assert "Put version 0.1.0 into /opt/infernet-edge/0.1.0" in told
    assert told.endswith("steps; this was a dry run, nothing was changed.")
    for path in ("/opt/infernet-edge", "/etc/infernet-edge", "/usr/local/bin/infernet-edge", UNIT):
        assert not machine.has(path)
    code, told = machine.try_to_run(PROGRAM, "service", "status")
    assert code == 1
    assert "inactive" in told


def test_it_needs_root(machine: Machine) -> None:
    machine.shell("mkdir -m 777 /tmp/nobody; cp /root/infernet-edge /tmp/nobody")
    code, told = machine.try_to_run(
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=/tmp/nobody"),
        *("/tmp/nobody/infernet-edge", "service", "install"),
    )
    assert (code, told) == (
        1,
        "This needs root. Put sudo in front: sudo infernet-edge service install",
    )
    machine.run("rm", "-r", "/tmp/nobody")


def test_installed_it_is_ready_and_serves_a_job(machine: Machine) -> None:
    told = install(machine)
    assert "Done. Configuration: /etc/infernet-edge/config.json\nOpen it in a browser" in told
    assert ":4000/\n" in told
    assert told.endswith("\n  sudo infernet-edge token new owner --scope operator")
    job = machine.start_job(text="hello")
    assert machine.result_of(job) == {"text": "hello"}
    told = machine.run("infernet-edge", "service", "status")
    assert "infernet-edge.service: active (running), enabled" in told
    assert "healthy" in told
    assert "0.1.0" in told
    assert machine.property("StatusText") == "Serving at http://127.0.0.1:4000"
    process = machine.run("stat", "--format=%U", f"/proc/{machine.property('MainPID')}")
    assert process == "infernet-edge"


def kill_the_container(machine: Machine) -> None:
    """Returns when its process has ended: what it receives before that, it does not answer."""
    machine.shell(
        "pid=$(podman inspect --format '{{.State.Pid}}' $(podman ps --quiet)); kill -9 $pid;"
        " while kill -0 $pid; do sleep 0.05; done 2>/dev/null"
    )


def test_podman_ends_when_idle_and_comes_back_when_a_container_dies(machine: Machine) -> None:
    """The node sees the end of a process of root, although /proc is hidden from it."""
    state = ("systemctl", "show", "--property=ActiveState", "--value", "infernet-edge-podman")
    machine.wait_until(lambda: machine.run(*state) == "inactive", 60)
    assert machine.result_of(machine.start_job(number=1)) == {"number": 1}
    assert machine.run(*state) == "inactive"
    kill_the_container(machine)
    assert machine.result_of(machine.start_job(number=2)) == {"number": 2}
    told = machine.log()
    assert "exit code 137" in told
    assert "container.watch_failed" not in told
    machine.wait_until(lambda: machine.run(*state) == "inactive", 60)


def test_a_second_time_nothing_is_changed(machine: Machine) -> None:
    before = machine.property("MainPID")
    assert install(machine).startswith("Already up to date; nothing was changed.\nOpen it in")
    assert machine.property("MainPID") == before


def test_the_units_are_right_and_the_node_is_confined(machine: Machine) -> None:
    names = ("infernet-edge.service", "infernet-edge-podman.service", "infernet-edge-podman.socket")
    assert machine.run("systemd-analyze", "verify", *(f"{UNITS}/{name}" for name in names)) == ""
    machine.run("systemd-analyze", "security", "--offline=true", "--threshold=20", UNIT)
    rights = machine.shell("stat --format='%a %U %n' /etc/infernet-edge/* /var/lib/infernet-edge")
    assert rights.splitlines() == [
        "600 infernet-edge /etc/infernet-edge/config.json",
        "700 root /etc/infernet-edge/credentials",
        "700 infernet-edge /var/lib/infernet-edge",
    ]


def test_the_journal_has_fields_and_levels(machine: Machine) -> None:
    told = machine.run(
        *("journalctl", "--unit=infernet-edge", "--output=json", "--no-pager"),
        "EVENT=node.started",
    )
    entry = json.loads(told.splitlines()[-1])
    assert entry["PRIORITY"] == "6"
    assert entry["SYSLOG_IDENTIFIER"] == "infernet-edge"
    assert entry["URL"] == "http://127.0.0.1:4000"
    assert entry["MESSAGE"].startswith("node.started url=http://127.0.0.1:4000 ")
    assert "node.started" in machine.run("infernet-edge", "service", "logs", "-n", "50")


def test_secrets_come_as_credentials(machine: Machine) -> None:
    credential = "/etc/infernet-edge/credentials/server.tokens.phone"
    machine.shell(f"umask 077; echo 0123456789abcdefghij > {credential}")
    assert "access.conf" in machine.run("infernet-edge", "service", "install")
    assert machine.request("GET", "/info")[0] == 401
    assert machine.request("GET", "/info", token="0123456789abcdefghij")[0] == 200
    machine.run("rm", credential)
    machine.run("infernet-edge", "service", "install")
    assert machine.request("GET", "/info")[0] == 200
    assert "Credential" not in machine.run("cat", f"{UNIT}.d/access.conf")


def test_it_is_in_the_groups_of_gpus_that_exist(machine: Machine) -> None:
    """A group that does not exist would keep the unit from starting (216/GROUP)."""
    assert machine.try_to_run("getent", "group", "render")[0] != 0
    assert machine.property("SupplementaryGroups") == "video"
    machine.run("groupadd", "--system", "render")
    machine.run("infernet-edge", "service", "install")
    assert machine.property("SupplementaryGroups") == "video render"
    groups = machine.shell(
        f"grep ^Groups: /proc/{machine.property('MainPID')}/status; getent group video render"
    ).splitlines()
    numbers = {line.split(":")[2] for line in groups[1:]}
    assert numbers <= set(groups[0].split()[1:])
    machine.run("groupdel", "render")
    machine.run("infernet-edge", "service", "install")
    assert machine.property("ActiveState") == "active"


def test_it_may_open_gpus_and_no_other_devices(machine: Machine) -> None:
    """Its unit's rules, with /dev/net/tun in the place of a Jetson's nvmap, and /dev/fuse."""
    allowed = machine.run("systemctl", "show", "infernet-edge", "--property=DeviceAllow")
    assert "char-nvidia* rw" in allowed
    assert machine.log().count("DeviceAllow") == 0  # nothing here is known, which is no error
    machine.shell("mknod -m 666 /dev/nvmap c 10 200; mknod -m 666 /dev/other c 10 229")
    for name, opened in (("nvmap", True), ("other", False)):
        machine.shell(
            "(printf '[Service]\\nType=oneshot\\nUser=infernet-edge\\n';"
            f" grep -h '^Device' {UNIT};"
            f" echo 'ExecStart=/bin/sh -c \"exec 3<>/dev/{name}\"') > {UNITS}/trial.service;"
            " systemctl daemon-reload"
        )
        assert (machine.try_to_run("systemctl", "start", "trial")[0] == 0) == opened
    assert "/dev/other: Operation not permitted" in machine.run("journalctl", "--unit=trial")
    machine.shell(f"rm /dev/nvmap /dev/other {UNITS}/trial.service; systemctl daemon-reload")


def test_a_restart_keeps_jobs(machine: Machine) -> None:
    finished = machine.start_job(number=1)
    machine.result_of(finished)
    running = machine.start_job(number=2, sleep=4)
    machine.run("systemctl", "kill", "--signal=KILL", "infernet-edge")
    machine.wait_until(lambda: machine.property("NRestarts") == "1")
    assert machine.result_of(running)["number"] == 2
    assert machine.result_of(finished)["number"] == 1


def _is_fed_after(machine: Machine, moment: str) -> bool:
    return machine.property("WatchdogTimestampMonotonic") != moment


def test_a_node_that_hangs_is_ended_and_comes_back(machine: Machine) -> None:
    machine.shell(
        f"mkdir -p {UNIT}.d; printf '[Service]\\nWatchdogSec=2\\nRestartSec=1\\n'"
        f" > {UNIT}.d/test.conf; systemctl daemon-reload; systemctl restart infernet-edge"
    )
    for _ in range(2):  # the watchdog is fed: nothing happens
        fed = machine.property("WatchdogTimestampMonotonic")
        machine.wait_until(partial(_is_fed_after, machine, fed))
    before = machine.property("MainPID")
    assert machine.property("NRestarts") == "0"
    machine.run("systemctl", "kill", "--signal=STOP", "infernet-edge")
    machine.wait_until(lambda: machine.property("NRestarts") == "1")
    machine.wait_until(lambda: machine.property("ActiveState") == "active")
    assert machine.property("MainPID") != before
    assert "Failed with result 'watchdog'" in machine.log()
    job = machine.start_job(text="again")
    assert machine.result_of(job) == {"text": "again"}
    machine.shell(f"rm {UNIT}.d/test.conf; systemctl daemon-reload")


def test_mistakes_in_the_configuration_do_not_loop(machine: Machine) -> None:
    config = "/etc/infernet-edge/config.json"
    machine.shell(f"cp -p {config} /root/config.kept; echo nonsense >> {config}")
    assert machine.try_to_run("systemctl", "restart", "infernet-edge")[0] != 0
    # One that is to be started again is "activating" in the pause before that.
    machine.wait_until(lambda: machine.property("ActiveState") == "failed")
    assert machine.property("NRestarts") == "0"
    assert machine.property("ExecMainStatus") == "78"
    code, told = machine.try_to_run("infernet-edge", "service", "install")
    assert code == 78
    assert "config.json" in told
    machine.shell(f"mv /root/config.kept {config}")
    machine.run("infernet-edge", "service", "install")
    assert machine.property("ActiveState") == "active"


def test_an_upgrade_keeps_the_last_version_and_the_jobs(machine: Machine) -> None:
    job = machine.start_job(text="before")
    machine.result_of(job)
    told = machine.run("infernet-edge", "service", "upgrade", PROGRAM)
    assert told.endswith("Version 0.1.0 runs already; nothing was changed.")
    file = newer(machine, "0.2.0")
    code, told = machine.try_to_run(
        "infernet-edge", "service", "upgrade", "--sha256", "0" * 64, file
    )
    assert code == 1
    assert "is not the file it should be; nothing was changed" in told
    digest = machine.run("sha256sum", file).split()[0]
    told = machine.run("infernet-edge", "service", "upgrade", "--sha256", digest, file)
    assert "Version 0.2.0 runs. It is on trial for 10 minutes" in told
    assert versions(machine) == ["0.1.0", "0.2.0"]
    status = machine.run("infernet-edge", "service", "status")
    assert "trial      of 0.2.0; if it fails, it is rolled back to 0.1.0" in status
    assert machine.result_of(job) == {"text": "before"}
    assert machine.try_to_run("infernet-edge", "service", "upgrade", PROGRAM)[0] == 1
    told = machine.run("infernet-edge", "service", "rollback")
    assert told.endswith("Version 0.1.0 runs again.")
    assert versions(machine) == ["0.1.0"]
    assert machine.result_of(job) == {"text": "before"}


def test_a_version_that_passes_its_trial_is_kept(machine: Machine) -> None:
    file = newer(machine, "0.2.0")
    command = f"infernet-edge service upgrade --trial 5 --json {file} 2>/dev/null"
    assert json.loads(machine.shell(command)) == {"version": "0.2.0", "previous": "0.1.0"}
    machine.wait_until(lambda: not machine.has("/opt/infernet-edge/trial.json"))
    assert versions(machine) == ["0.1.0", "0.2.0"]
    assert "trial" not in machine.run("infernet-edge", "service", "status")
    assert "rolled back" not in machine.run("infernet-edge", "service", "status")


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        ("echo out of order; exit 1", "out of order"),
        ("exec sleep 100", "It was not ready after 6 seconds"),
    ],
    ids=["it ends", "it is never ready"],
)
def test_an_upgrade_that_fails_goes_back(machine: Machine, run: str, reason: str) -> None:
    file = newer(machine, "0.3.0", run)
    code, told = machine.try_to_run(
        "infernet-edge", "service", "upgrade", "--timeout", "6", file, timeout=60
    )
    assert code == 1
    assert "Version 0.3.0 was rolled back and 0.2.0 runs again" in told
    assert reason in told
    assert versions(machine) == ["0.1.0", "0.2.0"]
    status = machine.run("infernet-edge", "service", "status")
    assert "version    0.2.0" in status
    assert "0.3.0 was rolled back" in status
    assert machine.result_of(machine.start_job(text="on")) == {"text": "on"}


def versions(machine: Machine) -> list[str]:
    return machine.shell("cd /opt/infernet-edge; ls -d [0-9]*").split()


def wait_for_rollback(machine: Machine, timeout: float = 90) -> None:
    machine.wait_until(lambda: not machine.has("/opt/infernet-edge/trial.json"), timeout)
    machine.wait_until(lambda: machine.property("ActiveState") == "active")
    assert machine.run("readlink", "/opt/infernet-edge/current") == "0.2.0"
    assert versions(machine) == ["0.1.0", "0.2.0"]
    assert machine.result_of(machine.start_job(text="on")) == {"text": "on"}


def start_upgrade(machine: Machine, file: str) -> None:
    """Begin an upgrade on a terminal of its own, and wait until its version is started."""
    machine.shell(
        "systemd-run --quiet --unit=terminal --property=SendSIGHUP=yes"
        f" infernet-edge service upgrade --timeout 15 {file}"
    )
    machine.wait_until(
        lambda: machine.run("readlink", "/opt/infernet-edge/current").startswith("0.3.0")
    )


def test_an_upgrade_whose_terminal_closes_is_rolled_back_all_the_same(machine: Machine) -> None:
    start_upgrade(machine, newer(machine, "0.3.0", "exec sleep 100"))
    machine.run("systemctl", "kill", "--signal=HUP", "terminal")
    machine.wait_until(lambda: machine.try_to_run("systemctl", "is-active", "terminal")[0] != 0)
    assert machine.has("/opt/infernet-edge/trial.json")
    wait_for_rollback(machine)


def test_a_trial_goes_on_after_a_power_cut(machine: Machine) -> None:
    """All is killed, and systemd starts what a boot starts."""
    start_upgrade(machine, newer(machine, "0.3.0", "exec sleep 100"))
    for name in ("terminal", "infernet-edge-trial", "infernet-edge"):
        machine.try_to_run("systemctl", "kill", "--signal=KILL", name)
    machine.try_to_run("systemctl", "stop", "infernet-edge-trial", "infernet-edge")
    assert machine.has("/opt/infernet-edge/trial.json")
    wanted = machine.shell("ls /etc/systemd/system/multi-user.target.wants").split()
    assert "infernet-edge-trial.service" in wanted
    machine.run("systemctl", "start", "--no-block", *wanted)
    wait_for_rollback(machine)


def test_a_version_that_crashes_repeatedly_is_rolled_back(machine: Machine) -> None:
    machine.shell(
        f"mkdir -p {UNIT}.d; printf '[Service]\\nRestartSec=1\\n' > {UNIT}.d/test.conf;"
        " systemctl daemon-reload"
    )
    run = 'dir=$(dirname "$(readlink -f "$0")"); (sleep 6; kill -9 $$) & exec "$dir/real" run'
    told = machine.run("infernet-edge", "service", "upgrade", newer(machine, "0.3.0", run))
    assert "Version 0.3.0 runs" in told
    wait_for_rollback(machine)
    assert "crashed 3 times" in machine.run("infernet-edge", "service", "status")
    machine.shell(f"rm {UNIT}.d/test.conf; systemctl daemon-reload")


SQL = (
    "UPDATE schema_versions SET version = version + 1{more} WHERE owner = 'jobs';"
    " ALTER TABLE jobs ADD COLUMN newer INTEGER;"
)


def test_a_version_that_migrates_and_fails_is_rolled_back(machine: Machine) -> None:
    job = machine.start_job(text="kept")
    machine.result_of(job)
    database = "/var/lib/infernet-edge/infernet-edge.sqlite"
    run = f'sqlite3 {database} "{SQL.format(more="")}"; exit 1'
    code, told = machine.try_to_run(
        "infernet-edge", "service", "upgrade", newer(machine, "0.3.0", run)
    )
    assert code == 1
    assert "0.2.0 runs again" in told
    assert machine.result_of(job) == {"text": "kept"}
    columns = machine.shell(f"sqlite3 -readonly {database} 'PRAGMA table_info(jobs)'")
    assert "newer" in columns


def test_it_never_gives_up(machine: Machine) -> None:
    """More failed starts than systemd allows by default, and then the reason is gone."""
    machine.shell(
        f"mkdir -p {UNIT}.d; printf '[Service]\\nRestartSec=0.1\\n' > {UNIT}.d/test.conf;"
        " systemctl daemon-reload; systemctl stop infernet-edge;"
        " systemd-run --quiet --unit=taken --property=Type=exec"
        " systemd-socket-activate --listen 0.0.0.0:4000 --inetd -a /bin/cat"
    )
    machine.run("systemctl", "start", "--no-block", "infernet-edge")
    machine.wait_until(lambda: int(machine.property("NRestarts")) > 12, 60)
    machine.run("systemctl", "stop", "taken")
    machine.wait_until(lambda: machine.property("ActiveState") == "active")
    machine.shell(f"rm {UNIT}.d/test.conf; systemctl daemon-reload")
    assert machine.property("RestartUSec") == "15s"


def test_it_needs_no_network_to_start(machine: Machine) -> None:
    after = machine.property("After").split() + machine.property("Wants").split()
    assert "network-online.target" not in after


def test_a_reload_reaches_the_node(machine: Machine) -> None:
    before = machine.property("MainPID")
    machine.run("systemctl", "reload", "infernet-edge")
    machine.wait_until(lambda: "node.reloaded" in machine.log())
    assert machine.property("MainPID") == before


def test_a_damaged_program_is_repaired(machine: Machine) -> None:
    library = machine.shell("ls /opt/infernet-edge/0.2.0/libpython3*").split()[0]
    machine.run("truncate", "--size=1000", library)
    assert machine.try_to_run("infernet-edge", "--version")[0] != 0
    told = machine.run(PROGRAM, "service", "upgrade", newer(machine, "0.2.0"))
    assert "were damaged, and are repaired" in told
    assert machine.property("ActiveState") == "active"
    assert "0.1.0" in machine.run("infernet-edge", "--version")  # of the real one in the wrapper


def test_uninstalled_it_leaves_the_data(machine: Machine) -> None:
    machine.run("infernet-edge", "service", "uninstall")
    for path in ("/opt/infernet-edge", "/usr/local/bin/infernet-edge", UNIT, f"{UNIT}.d"):
        assert not machine.has(path)
    assert machine.has("/var/lib/infernet-edge/infernet-edge.sqlite")
    assert machine.has("/etc/infernet-edge/config.json")
    assert machine.run("podman", "ps", "--all", "--quiet") == ""
    again = machine.run(PROGRAM, "service", "uninstall")
    assert again == "Already up to date; nothing was changed."


def test_podman_without_root_serves_a_job_too(machine: Machine) -> None:
    """The container of the Podman with root goes, and gives its port back.

    Podman's service has ended: it must not be started without root to stop root's container.
    """
    install(machine)
    machine.result_of(machine.start_job(text="as root"))
    assert machine.run("podman", "ps", "--quiet") != ""
    state = ("systemctl", "show", "--property=ActiveState", "--value", "infernet-edge-podman")
    machine.wait_until(lambda: machine.run(*state) == "inactive", 60)
    install(machine, "--rootless")
    assert machine.run("podman", "ps", "--all", "--quiet") == ""
    machine.shell(
        f"podman save --quiet --output /tmp/echo.tar {ECHO_IMAGE}; chmod 644 /tmp/echo.tar; cd /;"
        " runuser --user infernet-edge -- env HOME=/var/lib/infernet-edge-podman"
        " XDG_RUNTIME_DIR=/run/infernet-edge-podman-user podman load --quiet --input /tmp/echo.tar"
    )
    machine.run("systemctl", "restart", "infernet-edge")
    assert machine.result_of(machine.start_job(text="rootless")) == {"text": "rootless"}
    assert machine.run("podman", "ps", "--all", "--quiet") == ""
    assert "Podman runs without root" in machine.run("infernet-edge", "service", "status")
    dropin = f"{UNITS}/infernet-edge-podman.service.d/rootless.conf"
    assert install(machine).startswith("Already up to date; nothing was changed.\nOpen it in")
    assert machine.has(dropin)


def test_podman_without_root_passes_on_the_group_of_a_device(machine: Machine) -> None:
    """As the doctor advises: install once more. The echo service reads the device."""
    containers = [{**CONFIG["containers"][0], "devices": ["/dev/npu0"]}]
    given = machine.shared / "devices.json"
    given.write_text(json.dumps({**CONFIG, "containers": containers}))
    machine.shell(
        "mknod -m 660 /dev/npu0 c 1 3; chgrp games /dev/npu0; cp -p /etc/infernet-edge/config.json"
        f" /root/config.kept; cat /root/shared/{given.name} > /etc/infernet-edge/config.json"
    )
    order = {"show": True, "read": ["/dev/npu0"]}
    machine.run("systemctl", "restart", "infernet-edge")
    job = machine.start_job(**order)
    machine.wait_until(lambda: _state(machine, job) == "failed")
    found = json.loads(machine.try_to_run("infernet-edge", "doctor", "--json")[1])["devices"]
    assert found["level"] == "problem"
    assert "infernet-edge, who may not open /dev/npu0 (group games, mode 0660)" in found["text"]
    assert "groups.conf" in machine.run(*found["remedy"].removeprefix("sudo ").split())
    assert machine.result_of(machine.start_job(**order)) == order
    found = json.loads(machine.try_to_run("infernet-edge", "doctor", "--json")[1])["devices"]
    assert (found["level"], found["text"]) == ("ok", "/dev/npu0 can be passed in")
    machine.shell("mv /root/config.kept /etc/infernet-edge/config.json")


def _state(machine: Machine, job: str) -> str:
    _, answer = machine.request("GET", f"/api/jobs?id={job}")
    return str(answer[0]["status"])


def test_purged_nothing_is_left(machine: Machine) -> None:
    machine.run("infernet-edge", "service", "uninstall", "--purge")
    for path in (
        *("/opt/infernet-edge", "/etc/infernet-edge", "/var/lib/infernet-edge"),
        *("/var/lib/infernet-edge-podman", "/etc/sysusers.d/infernet-edge.conf"),
    ):
        assert not machine.has(path)
    assert machine.try_to_run("id", "infernet-edge")[0] != 0
    left = machine.shell(
        "find / -xdev -name '*infernet*' -not -path '/root/*' -not -path '/proc/*'"
    )
    assert [line for line in left.splitlines() if "/var/lib/systemd" not in line] == []


def test_the_link_of_init_opens_the_service(machine: Machine) -> None:
    """Made by a user for a node of their own; sudo hides their home, which is not where it was."""
    machine.run("useradd", "--create-home", "maker")
    machine.shell("echo 'maker ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/maker")
    machine.shell("install -m 755 /root/infernet-edge /home/maker/infernet-edge")

    def as_maker(command: str) -> str:
        return machine.run("su", "--login", "maker", "--command", command)

    told = as_maker("./infernet-edge init --yes --token --url http://127.0.0.1:9 --id none")
    (token,) = re.findall(r":4000/#token=(\S+)$", told, re.M)
    install = "sudo ./infernet-edge service install --config config.toml"
    source = "/home/maker/.local/share/infernet-edge"
    copied = f"Copy the tokens of {source} to /var/lib/infernet-edge (valid: owner)"
    assert copied in as_maker(f"{install} --dry-run")
    assert not machine.has("/var/lib/infernet-edge")
    told = as_maker(install)
    assert copied in told
    assert "It asks for a token." in told
    assert token not in told
    assert machine.request("GET", "/api/me")[0] == 401
    code, me = machine.request("GET", "/api/me", token=token)
    assert (code, me["name"], me["scope"]) == (200, "owner", "operator")
    rights = machine.run("stat", "--format=%a %U", "/var/lib/infernet-edge/tokens.json")
    assert rights == "600 infernet-edge"
    found = f"grep -rl {token} /etc/infernet-edge /var/lib/infernet-edge /home/maker || true"
    assert machine.shell(found) == ""
    assert token not in machine.log()
    # Tokens that are made for the other folder later are not those of the service.
    as_maker("./infernet-edge token new later --scope read")
    told = " ".join(as_maker(install).split())
    assert "Already up to date" in told
    assert f"the service refuses the tokens of {source} (later)" in told
    machine.run("infernet-edge", "service", "uninstall", "--purge")


def test_a_configuration_of_the_system_keeps_its_tokens(machine: Machine) -> None:
    """As `sudo infernet-edge init --output /etc/...` makes it, before there is a service."""
    told = machine.run(
        *(PROGRAM, "init", "--yes", "--token", "boss", "--url", "http://127.0.0.1:9"),
        *("--output", "/etc/infernet-edge/config.toml"),
    )
    (token,) = re.findall(r":4000/#token=(\S+)$", told, re.M)
    machine.run(PROGRAM, "service", "install")
    assert machine.request("GET", "/api/me")[0] == 401
    assert machine.request("GET", "/api/me", token=token)[1]["name"] == "boss"
    machine.run("infernet-edge", "service", "uninstall", "--purge")
