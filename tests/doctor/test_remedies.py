"""Each command that the doctor prints fixes its fault, on a real machine with systemd and Podman.

Each test makes a fault, takes the command out of what `infernet-edge doctor --json` says, runs it
in a shell as the user who ran the doctor, and expects the doctor to be content then.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.support.machine import ECHO_IMAGE, Machine

pytestmark = pytest.mark.timeout(400)  # the first makes the executable and the machine

PROGRAM = "/root/infernet-edge"
SETTINGS = "/etc/infernet-edge"
STATE = "/var/lib/infernet-edge"
DATABASE = f"{STATE}/infernet-edge.sqlite"
UNIT = "/etc/systemd/system/infernet-edge.service"
SOCKET = "/run/infernet-edge-podman/podman/podman.sock"
HOME = "/home/hobby user"  # with a space, which needs quotes in a shell
CONFIG: dict[str, Any] = {
    "server": {"rate_limit": {"num_requests": 0}},
    "storage": {"path": STATE, "min_free_bytes": 0},
    "containers": [{"id": "echo", "image": ECHO_IMAGE}],
}
_SETTLING = 30.0  # seconds
# What Podman without root says where the cgroups of the machine below are of version 1.
_NO_LIMITS = "cannot limit"


class Side(NamedTuple):
    """Who runs the doctor, in which shell, and for which configuration."""

    machine: Machine
    user: str = "root"
    options: str = ""

    def shell(self, script: str) -> tuple[int, str]:
        """Run it as this user, in the user's home; returns the exit code and the output."""
        if self.user == "root":
            return self.machine.try_to_run("sh", "-c", script)
        return self.machine.try_to_run(
            "runuser", "-u", self.user, "--", "sh", "-c", f"cd; {script}"
        )

    def doctor(self) -> dict[str, Any]:
        """All that the doctor finds."""
        code, output = self.shell(f"infernet-edge doctor --json {self.options}")
        assert code in (0, 1, 78), output
        found: dict[str, Any] = json.loads(output)
        return found

    def finding(self, check: str, text: str) -> dict[str, Any]:
        """The one finding of a check with this in its text."""
        found = self.doctor()[check]["findings"]
        matching = [each for each in found if text in each["text"]]
        assert len(matching) == 1, found
        return dict(matching[0])

    def fix(self, check: str, text: str, command: str = "", left: str = "") -> str:
        """See the fault, run its command, and see it gone. Returns the command.

        `left` is in the text of what else may be found then.
        """
        found = self.finding(check, text)
        assert found["level"] in ("warning", "problem"), found
        assert found["command"], found
        assert "\n" not in found["command"]
        assert command in found["command"], found
        code, output = self.shell(found["command"])
        assert code == 0, f"{found['command']}: {output}"
        deadline = time.monotonic() + _SETTLING
        while wrong := self._faults(check, text, left):
            assert time.monotonic() < deadline, f"{found['command']} did not fix it: {wrong}"
        return str(found["command"])

    def _faults(self, check: str, text: str, left: str) -> list[dict[str, Any]]:
        """What is left of a fault. A check with a single finding has to be content as a whole."""
        found: list[dict[str, Any]] = self.doctor()[check]["findings"]
        wrong = [each for each in found if each["level"] != "ok"]
        if left:
            wrong = [each for each in wrong if left not in each["text"]]
        return wrong if len(found) == 1 else [each for each in wrong if text in each["text"]]


@pytest.fixture(scope="module")
def prepared(booted_machine: Machine) -> Machine:
    """The machine with the service, and with a user who runs a node without it."""
    machine = booted_machine
    given = machine.shared / "config.json"
    given.write_text(json.dumps(CONFIG))
    machine.run(PROGRAM, "service", "install", "--config", f"/root/shared/{given.name}")
    machine.shell(
        f"useradd --create-home --home-dir '{HOME}' hobby;"
        " echo 'hobby ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/hobby"
    )
    return machine


@pytest.fixture
def service(prepared: Machine) -> Side:
    """root, and the installed service, which runs."""
    configure(prepared, CONFIG, restart=False)
    if prepared.property("ActiveState") != "active":
        configure(prepared, CONFIG)
    return Side(prepared)


@pytest.fixture
def hobby(prepared: Machine) -> Side:
    """A user who runs a node with a configuration and a Podman of their own."""
    side = Side(prepared, "hobby", f"--config '{HOME}/my config.json'")
    write(side, {})
    return side


def configure(machine: Machine, document: dict[str, Any], *, restart: bool = True) -> None:
    """Give the service a configuration."""
    (machine.shared / "next.json").write_text(json.dumps(document))
    machine.shell(
        f"cat /root/shared/next.json > {SETTINGS}/config.json;"
        f" chown infernet-edge: {SETTINGS}/config.json; chmod 600 {SETTINGS}/config.json"
    )
    if restart:
        machine.shell(
            "systemctl reset-failed infernet-edge 2>/dev/null || true;"
            " systemctl restart infernet-edge"
        )


def write(side: Side, different: dict[str, Any]) -> None:
    """Give the hobbyist a configuration: the usual one with something different."""
    document = {
        "server": {"port": 4100},
        "storage": {"path": f"{HOME}/data", "min_free_bytes": 0},
        "containers": [],
        **different,
    }
    (side.machine.shared / "hobby.json").write_text(json.dumps(document))
    side.machine.shell(
        f"cat /root/shared/hobby.json > '{HOME}/my config.json';"
        f" chown hobby: '{HOME}/my config.json'; chmod 600 '{HOME}/my config.json'"
    )


def with_container(**more: Any) -> dict[str, Any]:
    return {"containers": [{"id": "echo", "image": ECHO_IMAGE, **more}]}


def test_a_sound_machine_has_no_command(service: Side) -> None:
    service.machine.wait_until(lambda: service.doctor()["containers"]["level"] == "ok")
    found = service.doctor()
    del found["clock"]  # it is that of the machine below, which may have no time server
    assert {name: each for name, each in found.items() if each["level"] != "ok"} == {}
    assert not any(each["command"] for each in found.values())


@pytest.mark.parametrize(
    ("fault", "text", "command"),
    [
        (f"chmod 500 {STATE}", "Permission denied", "chmod u+rwx"),
        (f"chown root: {STATE}", "it belongs to root", "chown -R infernet-edge:"),
        (f"chown root: {DATABASE}", "infernet-edge.sqlite in", "chown infernet-edge:"),
        (
            f"mount --bind {STATE} {STATE} && mount -o remount,bind,ro {STATE}",
            "is mounted read-only",
            "mount -o remount,rw",
        ),
    ],
    ids=["mode", "owner", "a file's owner", "mounted read-only"],
)
def test_the_service_cannot_write_its_data(
    service: Side, fault: str, text: str, command: str
) -> None:
    service.machine.shell(fault)
    service.fix("storage", text, command)
    service.machine.shell(f"! mountpoint -q {STATE} || umount --lazy {STATE}")


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (f"chmod 644 {SETTINGS}/config.json", f"others can read {SETTINGS}/config.json"),
        (f"chmod 755 {SETTINGS}/credentials", f"others can read {SETTINGS}/credentials"),
        (f"chmod 755 {STATE}", f"others can read {STATE}"),
        (f"chmod 644 {SETTINGS}/key", f"others can read {SETTINGS}/key"),
        (f"chown root: {SETTINGS}/config.json", f"may not read {SETTINGS}/config.json"),
        (f"chown root: {SETTINGS}/key", f"may not read {SETTINGS}/key"),
    ],
    ids=["configuration", "credentials", "data", "key file", "not for the node", "key not for it"],
)
def test_permissions_of_secrets(service: Side, fault: str, text: str) -> None:
    service.machine.shell(
        f"echo 0123456789abcdefghij > {SETTINGS}/key;"
        f" chown infernet-edge: {SETTINGS}/key; chmod 600 {SETTINGS}/key"
    )
    tokens = {"phone": "abcdefghij0123456789", "other": {"file": f"{SETTINGS}/key"}}
    configure(service.machine, {**CONFIG, "server": {"tokens": tokens}}, restart=False)
    assert service.doctor()["secrets"]["level"] == "ok"
    service.machine.shell(fault)
    service.fix("secrets", text)


def test_a_key_file_with_spaces_in_its_path(hobby: Side) -> None:
    hobby.machine.shell(
        f"echo 0123456789abcdefghij > '{HOME}/the key'; chmod 644 '{HOME}/the key';"
        f" chown hobby: '{HOME}/the key'"
    )
    write(hobby, {"server": {"port": 4100, "tokens": {"a": {"file": f"{HOME}/the key"}}}})
    hobby.fix("secrets", "the key", "chmod go=")
    assert hobby.doctor()["configuration"]["level"] == "ok"


def test_a_missing_folder(hobby: Side) -> None:
    write(hobby, {"storage": {"path": "/srv/the data/of it", "min_free_bytes": 0}})
    hobby.fix("storage", "hobby cannot write /srv", "sudo install -d -m 700 -o hobby")
    assert hobby.machine.has("/srv/the data/of it")
    hobby.machine.run("rm", "-r", "/srv/the data")


def test_a_full_disk_needs_space_and_no_folder(hobby: Side) -> None:
    disk = f"{HOME}/disk"
    hobby.machine.shell(
        f"mkdir -p '{disk}'; mount -t tmpfs -o size=8m tmpfs '{disk}'; chown hobby: '{disk}';"
        f" dd if=/dev/zero of='{disk}/video' bs=1M count=9 2>/dev/null || true"
    )
    write(hobby, {"storage": {"path": f"{disk}/data", "min_free_bytes": 2**20}})
    found = hobby.doctor()
    assert "No space left on device" in found["storage"]["text"]
    assert found["storage"]["command"] == found["space"]["command"] == ""
    assert f"{disk}/video (8 MiB)" in found["space"]["remedy"]
    hobby.machine.run("rm", f"{disk}/video")
    found = hobby.doctor()
    assert (found["storage"]["level"], found["space"]["level"]) == ("ok", "ok")
    hobby.machine.run("umount", "--lazy", disk)


def test_a_disk_full_of_old_logs(service: Side) -> None:
    """Logs are real ones of journald, made longer and copied under names as it gives them."""
    machine = service.machine
    machine.shell(
        "mkdir -p /var/log/journal; mount -t tmpfs -o size=400m tmpfs /var/log/journal;"
        " systemctl restart systemd-journald; journalctl --flush; echo line | systemd-cat;"
        " journalctl --rotate; cd /var/log/journal/*; one=$(ls -S system@*.journal | head -1);"
        " for n in $(seq 10 60); do"
        ' copy="system@000000000000000000000000000000$n-00000000000000$n-00000000000000$n.journal";'
        " cp $one $copy; head -c 8M /dev/zero >> $copy || break; done 2>/dev/null"
    )
    document = {**CONFIG, "storage": {"path": "/var/log/journal/data", "min_free_bytes": 50 << 20}}
    configure(machine, document, restart=False)
    service.fix("space", "old logs of the system", "journalctl")
    machine.shell(
        "while mountpoint -q /var/log/journal; do umount --lazy /var/log/journal; done;"
        " systemctl restart systemd-journald"
    )


def test_a_damaged_database_and_what_was_kept_of_it(service: Side) -> None:
    machine = service.machine
    machine.shell(
        f"systemctl stop infernet-edge; rm -f {DATABASE}-wal {DATABASE}-shm;"  # may hold the pages
        f" dd if=/dev/urandom of={DATABASE} bs=1k count=16 seek=4 conv=notrunc 2>/dev/null"
    )
    found = service.finding("database", "is damaged")
    assert found["level"] == "problem"
    assert service.shell(found["command"])[0] == 0
    service.fix("database", "quarantined a damaged database", f"rm -- {DATABASE}.corrupt-")


@pytest.mark.parametrize(
    ("fault", "check", "text"),
    [
        ("systemctl stop infernet-edge-podman.socket", "podman", f"no Podman listens at {SOCKET}"),
        ("systemctl stop infernet-edge-podman.socket", "service", "does not listen"),
        ("systemctl disable infernet-edge-podman.socket", "service", "does not start at boot"),
        (f"chown root: {SOCKET}", "socket", f"infernet-edge may not use {SOCKET}"),
        (f"chmod 666 {SOCKET}", "socket", "all users of this machine may use"),
        (f"rm {SOCKET}", "socket", "does not exist"),
    ],
    ids=["stopped", "stopped, by systemd", "disabled", "owner", "open to all", "removed"],
)
def test_the_services_podman(service: Side, fault: str, check: str, text: str) -> None:
    service.machine.shell(f"systemctl stop infernet-edge infernet-edge-podman.service; {fault}")
    service.fix(check, text)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("systemctl stop infernet-edge", "is not running"),
        ("systemctl disable --now infernet-edge", "is not running"),
        ("systemctl disable infernet-edge", "does not start at boot"),
        (f"echo '# mine' >> {UNIT}; systemctl daemon-reload", "was changed or is missing"),
        (f"echo '# mine' >> {UNIT}", "systemd has not read it since"),
    ],
    ids=["stopped", "disabled and stopped", "disabled", "changed unit", "changed, not read"],
)
def test_the_services_unit(service: Side, fault: str, text: str) -> None:
    service.machine.shell(fault)
    command = service.finding("service", text)["command"]
    assert service.shell(command)[0] == 0
    if service.doctor()["service"]["level"] != "ok":  # what was written into the unit is left
        service.fix("service", "was changed or is missing", "infernet-edge service install")


def test_what_the_configuration_opens_to_the_service(service: Side) -> None:
    document = {**CONFIG, "storage": {"path": "/srv/edge", "min_free_bytes": 0}}
    configure(service.machine, document, restart=False)
    service.fix("storage", "infernet-edge cannot write /srv", "install -d")
    service.fix("service", "are not open to the service", "infernet-edge service install")
    configure(service.machine, CONFIG)
    service.machine.shell("infernet-edge service install; rm -r /srv/edge")


def test_mistakes_that_were_corrected(service: Side) -> None:
    machine = service.machine
    machine.shell(f"echo nonsense >> {SETTINGS}/config.json")
    assert machine.try_to_run("systemctl", "restart", "infernet-edge")[0] != 0
    machine.wait_until(lambda: machine.property("ActiveState") == "failed")
    found = service.doctor()
    assert found["configuration"]["level"] == "problem"
    assert found["service"]["command"] == ""  # it would not start
    configure(machine, CONFIG, restart=False)
    service.fix("service", "which are corrected", "systemctl restart infernet-edge.service")


def test_no_node_runs(service: Side) -> None:
    service.machine.run("systemctl", "stop", "infernet-edge")
    service.fix("node", "no running node", "systemctl restart")


def test_a_container_that_the_running_node_does_not_know(service: Side) -> None:
    containers = [*CONFIG["containers"], {"id": "second", "image": ECHO_IMAGE}]
    configure(service.machine, {**CONFIG, "containers": containers}, restart=False)
    service.fix("containers", "second: the running node does not have it", "systemctl restart")


def test_an_image_that_only_roots_podman_has(service: Side) -> None:
    install = ("infernet-edge", "service", "install")
    service.machine.run(*install, "--rootless")
    service.fix("images", "the Podman of root has it", "podman save")
    service.machine.run(*install, "--rootful")


def test_volumes_of_the_service(service: Side) -> None:
    volumes = ["/srv/the models:/models", "/srv/the models:/again:ro", "named:/n"]
    configure(service.machine, CONFIG | with_container(volumes=volumes), restart=False)
    found = service.doctor()["volumes"]["findings"]
    assert [each["level"] for each in found] == ["problem", "problem"]
    assert service.shell(found[0]["command"])[0] == 0
    assert service.doctor()["volumes"]["level"] == "ok"
    service.machine.run("rmdir", "/srv/the models")


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("true", "does not exist"),
        (f"mkdir '{HOME}/models'", "it belongs to root"),
        (
            f"install -d -o hobby -m 500 '{HOME}/models'",
            "may not read and write it",
        ),
    ],
    ids=["missing", "root's", "mode"],
)
def test_volumes_of_a_user(hobby: Side, fault: str, text: str) -> None:
    write(hobby, with_container(volumes=[f"{HOME}/models:/models"]))
    hobby.machine.shell(fault)
    hobby.fix("volumes", text)
    hobby.machine.run("rmdir", f"{HOME}/models")


@pytest.mark.parametrize(
    ("start", "command"),
    [
        ("systemd-run --quiet --unit=squatter {}", "systemctl stop squatter.service"),
        ("setsid {} > /dev/null 2>&1 &", "kill "),
    ],
    ids=["a service", "a process"],
)
def test_a_busy_port(service: Side, start: str, command: str) -> None:
    service.machine.run("systemctl", "stop", "infernet-edge")
    squatter = "systemd-socket-activate --listen=0.0.0.0:4000 /bin/cat"
    service.machine.shell(start.format(squatter))
    service.machine.wait_until(lambda: service.doctor()["ports"]["level"] == "problem")
    service.fix("ports", "port 4000 is in use by ", command)


def test_a_user_without_a_configuration(hobby: Side) -> None:
    """As on a machine without the service, whose configuration everybody would find."""
    with _aside(hobby.machine, SETTINGS):
        bare = hobby._replace(options="")
        bare.fix("configuration", "no file was found", "init --output")
        assert hobby.machine.has(f"{HOME}/config.json")
    hobby.machine.run("rm", f"{HOME}/config.json")


def test_containers_that_end_with_the_session(hobby: Side) -> None:
    write(hobby, with_container())
    hobby.fix("lingering", "when hobby logs out", "sudo loginctl enable-linger hobby")
    hobby.machine.run("loginctl", "disable-linger", "hobby")


def test_a_users_stopped_socket(hobby: Side) -> None:
    uid = hobby.machine.run("id", "-u", "hobby")
    url = f"unix:///run/user/{uid}/podman/podman.sock"
    write(hobby, {**with_container(), "podman": {"url": url}})
    hobby.machine.wait_until(lambda: not hobby.machine.has(f"/run/user/{uid}"))
    hobby.fix("socket", "does not exist", "systemctl --user enable --now podman.socket")
    hobby.machine.shell("loginctl disable-linger hobby")


def test_the_stopped_socket_of_roots_podman(prepared: Machine) -> None:
    """As for a node that root runs without the service."""
    document = {**CONFIG, "podman": {"url": "unix:///run/podman/podman.sock"}}
    (prepared.shared / "own.json").write_text(json.dumps(document))
    prepared.shell(
        "cat /root/shared/own.json > '/root/the own.json'; chmod 600 '/root/the own.json'"
    )
    root = Side(prepared, options="--config '/root/the own.json'")
    assert root.doctor()["podman"]["level"] == "ok"
    prepared.run("systemctl", "disable", "--now", "podman.socket")
    root.fix("podman", "no Podman listens at /run/podman/podman.sock", "podman.socket")


def test_another_users_socket_is_not_opened(hobby: Side) -> None:
    write(hobby, {**with_container(), "podman": {"url": f"unix://{SOCKET}"}})
    found = hobby.finding("socket", f"hobby may not use {SOCKET}")
    assert found["command"] == ""
    assert "remove podman.url" in found["remedy"]


def test_a_user_without_user_ids_for_containers(hobby: Side) -> None:
    write(hobby, with_container())
    hobby.machine.run("sed", "-i", "/^hobby:/d", "/etc/subuid", "/etc/subgid")
    hobby.fix("podman", "/etc/subuid", "usermod --add-subuids", left=_NO_LIMITS)


@contextlib.contextmanager
def _aside(machine: Machine, path: str) -> Iterator[None]:
    """Without this file or folder."""
    machine.run("mv", path, f"{path}.aside")
    try:
        yield
    finally:
        machine.shell(f"rm -rf {path}; mv {path}.aside {path}")


@pytest.fixture
def packages(prepared: Machine) -> Iterator[None]:
    """A repository of Debian packages on the machine, with one: podman 4.3.1, its own program."""
    prepared.shell(
        """
        mkdir -p /srv/repository /tmp/podman/DEBIAN /tmp/podman/usr/bin
        cp /usr/bin/podman /tmp/podman/usr/bin/; cp -a /usr/bin/podman /root/podman.kept
        printf 'Package: podman\\nVersion: 9:4.3.1\\nArchitecture: all\\nMaintainer: test <t@t>\\n'\
            > /tmp/podman/DEBIAN/control
        printf 'Description: the real one\\n' >> /tmp/podman/DEBIAN/control
        dpkg-deb --root-owner-group --build -Znone /tmp/podman /srv/repository/podman.deb
        cd /srv/repository; dpkg-deb --field podman.deb > Packages
        printf 'Filename: ./podman.deb\\nSize: %s\\nSHA256: %s\\n' "$(stat -c %s podman.deb)" \
            "$(sha256sum podman.deb | cut -d' ' -f1)" >> Packages
        mkdir /root/apt; mv /etc/apt/sources.list* /root/apt/
        echo 'deb [trusted=yes] file:/srv/repository ./' > /etc/apt/sources.list
        cp -a /var/lib/dpkg/status /root/apt/status
        """
    )
    yield
    prepared.shell(
        """
        rm -rf /etc/apt/sources.list*; mv /root/apt/sources.list* /etc/apt/
        cp -a /root/apt/status /var/lib/dpkg/status; cp -a /root/podman.kept /usr/bin/podman
        rm -rf /root/apt /srv/repository /tmp/podman
        """
    )


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("", "Podman is not installed"),
        ("#!/bin/sh\necho podman version 3.4.4\n", "Podman 3.4 is older than 4.0"),
    ],
    ids=["missing", "old"],
)
@pytest.mark.usefixtures("packages")
def test_podman_is_missing_or_old(hobby: Side, program: str, text: str) -> None:
    """Only the program is another one: a package with Podman 3.4 cannot be had for this machine."""
    write(hobby, with_container())
    (hobby.machine.shared / "podman").write_text(program)
    hobby.machine.run("rm", "/usr/bin/podman")
    if program:
        hobby.machine.run("install", "-m", "755", "/root/shared/podman", "/usr/bin/podman")
    hobby.fix("podman", text, "apt-get install --yes podman", left=_NO_LIMITS)
