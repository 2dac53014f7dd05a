"""`infernet-edge backup` and `restore`, with real nodes, under load."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infernet_edge.backup.archive import Verification, read_archive
from infernet_edge.config.model import DATABASE
from tests.support.archives import make_archive, make_database, marks
from tests.support.client import Api
from tests.support.disks import small_disk
from tests.support.echo import EchoService
from tests.support.node import NODE_MODULES, NodeProcess
from tests.support.process import ROOT
from tests.support.template import run_forked

SECRET = "a-token-of-32-characters-or-more"


def command(*words: str | Path, cwd: Path = ROOT, **environment: str) -> Any:
    """Run the command line in a process of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    program = [sys.executable, "-m", "infernet_edge", *words]
    return run_forked(program, NODE_MODULES, cwd=cwd, env=env)


def checked(archive: Path) -> Verification:
    found = Verification()
    with archive.open("rb") as file:
        for opened in read_archive(file):
            found.copy(opened, None)
    found.finish()
    return found


def written(folder: Path, document: Mapping[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.json"
    config.write_text(json.dumps(document))
    config.chmod(0o600)
    return config


@pytest.fixture
def offline(tmp_path: Path) -> Path:
    """The configuration of a node that does not run, whose database has the marks 1, 2, 3."""
    make_database(tmp_path / "data" / DATABASE, [1, 2, 3])
    return written(tmp_path, {"storage": {"path": str(tmp_path / "data")}})


class Load:
    """Clients that submit jobs all the time, and note what was acknowledged."""

    def __init__(self, port: int) -> None:
        self.acknowledged: list[str] = []
        self._api = Api(port, timeout=20)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *ignored: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.acknowledged.append(self._api.submit("echo", {"text": "x" * 2000}))


def test_a_restored_node_has_every_job_that_was_acknowledged_before(tmp_path: Path) -> None:
    """Under load, while it runs; and another node, at another place, goes on with them."""
    archive = tmp_path / "b.tar"
    with EchoService(tmp_path) as echo:
        document = {"containers": [{"id": "echo", "url": echo.url}]}
        with NodeProcess(document, tmp_path / "one") as node, Load(node.port) as load:
            while len(load.acknowledged) < 300:
                time.sleep(0.05)
            before = list(load.acknowledged)
            done = command("backup", archive, "--config", node.config_path)
            after = len(load.acknowledged)
            assert done.returncode == 0, done.stderr
            assert b"Wrote " in done.stdout
            assert b"infernet-edge restore" in done.stdout
            refused = command("restore", archive, "--config", node.config_path)
            assert refused.returncode == 1
            assert b"runs already" in refused.stderr
            assert b"systemctl stop" in refused.stderr
        assert after > len(before)  # the node went on meanwhile
        assert archive.stat().st_mode & 0o777 == 0o600
        assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
        assert not list((tmp_path / "one/data").glob("*copying*"))

        other = NodeProcess(document, tmp_path / "two")
        other.config_path.write_text(json.dumps(other.config))
        done = command("restore", archive, "--config", other.config_path)
        assert done.returncode == 0, done.stderr
        with other:
            api = Api(other.port)
            results = api.finished(before)
            assert {each["id"] for each in results} == set(before)
            assert {each["status"] for each in results} == {"success"}
            assert api.submit("echo", {}) not in before


def test_a_backup_to_a_pipe(tmp_path: Path) -> None:
    """As over ssh; nothing but the archive is written to the standard output."""
    with NodeProcess({}, tmp_path) as node:
        done = command("backup", "-", "--config", node.config_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "b.tar").write_bytes(done.stdout)
    assert checked(tmp_path / "b.tar").small("configuration.json")


def test_a_reader_that_ends(offline: Path) -> None:
    """Of the archive: it is an error. Of the text: the backup was written."""
    program = [sys.executable, "-m", "infernet_edge", "backup"]
    for file, code in (("-", 1), (str(offline.parent / "b.tar"), 0)):
        reading, writing = os.pipe()
        os.close(reading)
        process = subprocess.Popen(
            [*program, file, "--config", offline], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE
        )
        os.close(writing)
        _, wrong = process.communicate(timeout=60)
        assert (process.returncode, wrong.count(b"No backup was written")) == (code, code), wrong
    checked(offline.parent / "b.tar")


def test_a_backup_while_no_node_runs(offline: Path) -> None:
    archive = offline.parent / "b.tar"
    done = command("backup", archive, "--config", offline)
    assert done.returncode == 0, done.stderr
    with tarfile.open(archive) as opened:
        opened.extract(DATABASE, offline.parent / "out", filter="data")
    assert marks(offline.parent / "out" / DATABASE) == [1, 2, 3]


def test_a_backup_after_a_kill_has_what_is_in_the_wal(tmp_path: Path) -> None:
    with NodeProcess({"containers": [{"id": "a", "url": "http://127.0.0.1:9"}]}, tmp_path) as node:
        identifiers = [Api(node.port).submit("a", {"n": n}) for n in range(5)]
        node.kill()
        archive = tmp_path / "b.tar"
        done = command("backup", archive, "--config", node.config_path)
        assert done.returncode == 0, done.stderr
        again = command("restore", archive, "--config", node.config_path)
        assert again.returncode == 0, again.stderr
        node.restart()
        results = Api(node.port).finished(identifiers)
    assert {each["id"] for each in results} == set(identifiers)


def test_what_exists_is_not_replaced_without_force(offline: Path) -> None:
    archive = offline.parent / "b.tar"
    archive.write_text("mine")
    done = command("backup", archive, "--config", offline)
    assert (done.returncode, archive.read_text()) == (1, "mine")
    assert b"exists" in done.stderr
    assert b"--force" in done.stderr
    assert command("backup", archive, "--config", offline, "--force").returncode == 0
    checked(archive)


@pytest.mark.parametrize(
    "name",
    ["config.json", "secret", "data/tokens.json", "data/lock", f"data/{DATABASE}", "link.tar"],
)
def test_no_file_of_the_node_is_replaced(offline: Path, name: str) -> None:
    """Also not with --force, by a link, or where the backup lacks the content."""
    folder = offline.parent
    (folder / "secret").write_text(SECRET)
    (folder / "data/lock").touch()
    (folder / "link.tar").symlink_to(offline)
    document = json.loads(offline.read_text())
    written(folder, {**document, "server": {"tokens": {"bob": {"file": "secret"}}}})
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = command("backup", folder / name, "--config", offline, "--force")
    assert done.returncode == 1
    assert b"is a file of the node" in done.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("name", "text"),
    [("nowhere/b.tar", b"There is no folder"), (".", b"is a folder"), ("pipe", b"no regular file")],
)
def test_names_that_cannot_be_used(offline: Path, name: str, text: bytes) -> None:
    os.mkfifo(offline.parent / "pipe")
    done = command("backup", offline.parent / name, "--config", offline, "--force")
    assert done.returncode == 1
    assert text in done.stderr


def test_nothing_to_back_up(tmp_path: Path) -> None:
    config = written(tmp_path, {"storage": {"path": str(tmp_path / "data")}})
    done = command("backup", tmp_path / "b.tar", "--config", config)
    assert done.returncode == 1
    assert b"nothing to back up" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json"]


def test_a_full_disk_is_left_empty(offline: Path) -> None:
    small = offline.parent / "small"
    with small_disk(small, 2**20):
        done = command("backup", small / "b.tar", "--config", offline)
        assert list(small.iterdir()) == []
    assert done.returncode == 1
    assert b"not enough space" in done.stderr


def test_a_write_that_fails_leaves_nothing(offline: Path) -> None:
    """A file system with a largest size of files, such as FAT32, by the limit of the process."""
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        " resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));"
        " from infernet_edge.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    words: list[str | Path] = ["backup", offline.parent / "b.tar", "--config", offline]
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done
    assert b"FAT32" in done.stderr
    assert sorted(path.name for path in offline.parent.iterdir()) == ["config.json", "data"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_backup_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    make_database(tmp_path / "data" / DATABASE, range(60), numbered=2**20)
    config = written(tmp_path, {"storage": {"path": str(tmp_path / "data")}})
    partial, complete = tmp_path / ".b.tar.partial", tmp_path / "b.tar"
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-m", "infernet_edge", "backup", complete, "--config", config],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 30
        while not partial.exists() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(number)
        code = process.wait(30)
        if not complete.exists():
            break
        complete.unlink()  # the signal came too late
    assert code == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "data"]


def test_secrets_are_only_there_when_they_are_asked_for(tmp_path: Path) -> None:
    make_database(tmp_path / "data" / DATABASE)
    (tmp_path / "wallet").write_text(SECRET)
    (tmp_path / "wallet").chmod(0o600)
    document = {
        "storage": {"path": str(tmp_path / "data")},
        "server": {"tokens": {"phone": SECRET, "tablet": {"file": "wallet"}}},
    }
    config = written(tmp_path, document)
    done = command("backup", tmp_path / "b.tar", "--config", config)
    assert done.returncode == 0, done.stderr
    assert SECRET.encode() not in (tmp_path / "b.tar").read_bytes()
    assert b"server.tokens.phone" in done.stdout
    assert b"wallet" in done.stdout
    done = command("backup", tmp_path / "s.tar", "--config", config, "--with-secrets")
    assert done.returncode == 0, done.stderr
    found = checked(tmp_path / "s.tar")
    assert found.small("configuration.json") == config.read_bytes()
    assert found.small("secrets/0") == SECRET.encode()

    # On another machine, and there in its place.
    (tmp_path / "wallet").unlink()
    config.unlink()
    done = command("restore", tmp_path / "s.tar", "--config", config)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "wallet").read_text() == SECRET
    assert (tmp_path / "wallet").stat().st_mode & 0o777 == 0o600
    assert json.loads(config.read_text()) == document
    assert command("check", "--config", config).returncode == 0


def test_restore_keeps_the_previous_files(offline: Path) -> None:
    archive = offline.parent / "b.tar"
    database = offline.parent / "data" / DATABASE
    new = make_database(offline.parent / "new.sqlite", [7, 8])
    archive.write_bytes(make_archive(new.read_bytes(), {"tokens.json": b"new"}))
    os.chown(database.parent, 1234, 1235)
    database.parent.chmod(0o750)
    done = command("restore", archive, "--config", offline)
    assert done.returncode == 0, done.stderr
    [kept] = database.parent.glob("before-restore-*")
    assert str(kept).encode() in done.stdout
    assert marks(database) == [7, 8]
    assert marks(kept / DATABASE) == [1, 2, 3]
    assert database.parent.stat().st_mode & 0o777 == 0o750
    for path in (database.parent, kept, database, database.parent / "tokens.json"):
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1235), path


def test_tokens_stay_when_the_backup_has_none(offline: Path) -> None:
    """Without a token a node would serve everybody."""
    tokens = offline.parent / "data/tokens.json"
    tokens.write_text("{}")
    archive = offline.parent / "b.tar"
    archive.write_bytes(make_archive((offline.parent / "data" / DATABASE).read_bytes()))
    assert command("restore", archive, "--config", offline).returncode == 0
    assert tokens.read_text() == "{}"


def test_reports_as_json(offline: Path) -> None:
    archive = offline.parent / "b.tar"
    done = command("backup", archive, "--config", offline, "--json")
    report = json.loads(done.stdout)
    assert report["file"] == str(archive)
    assert report["size"] == archive.stat().st_size
    assert report["left_out"] == []
    done = command("restore", archive, "--config", offline, "--json", "--dry-run")
    assert json.loads(done.stdout)["kept"] is None
    done = command("restore", archive, "--config", offline, "--json")
    assert Path(json.loads(done.stdout)["kept"]).is_dir()


def test_a_dry_run_changes_nothing(offline: Path) -> None:
    archive = offline.parent / "b.tar"
    new = make_database(offline.parent / "new" / DATABASE, [7])
    archive.write_bytes(make_archive(new.read_bytes()))
    before = sorted(path.name for path in (offline.parent / "data").iterdir())
    done = command("restore", archive, "--config", offline, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert b"is whole" in done.stdout
    assert sorted(path.name for path in (offline.parent / "data").iterdir()) == before
    assert marks(offline.parent / "data" / DATABASE) == [1, 2, 3]


def damaged_database(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + b"\xff" * 8192 + content[middle + 8192 :]


def newer_database(folder: Path) -> bytes:
    path = make_database(folder / "newer.sqlite")
    import sqlite3

    connection = sqlite3.connect(path)
    connection.execute("UPDATE schema_versions SET version = 900, readable_since = 900")
    connection.commit()
    connection.close()
    return path.read_bytes()


@pytest.mark.parametrize("what", ["damaged", "newer", "cut", "other", "no room"])
def test_what_cannot_be_restored_changes_nothing(offline: Path, what: str) -> None:
    data = offline.parent / "data"
    content = (data / DATABASE).read_bytes()
    archive = offline.parent / "b.tar"
    texts = {
        "damaged": (make_archive(damaged_database(content)), b"damaged"),
        "newer": (
            make_archive(newer_database(offline.parent)),
            b"Install version 0.1.0 or a later",
        ),
        "cut": (make_archive(content)[:-5000], b"incomplete"),
        "other": (b"x" * 5000, b"no backup of infernet-edge"),
        "no room": (make_archive(b"")[:0] + huge(), b"not enough space"),
    }
    archive.write_bytes(texts[what][0])
    before = sorted(path.name for path in data.iterdir())
    done = command("restore", archive, "--config", offline)
    assert done.returncode == 1
    assert texts[what][1] in done.stderr, done.stderr
    after = sorted(path.name for path in data.iterdir() if path.name != "lock")
    assert after == before
    assert marks(data / DATABASE) == [1, 2, 3]


def huge() -> bytes:
    member = tarfile.TarInfo(DATABASE)
    member.size = 2**50
    return member.tobuf(tarfile.GNU_FORMAT) + bytes(4096)


def test_a_new_machine_gets_the_configuration(offline: Path) -> None:
    archive = offline.parent / "b.tar"
    document = json.loads(offline.read_text())
    document["server"] = {"tokens": {"phone": SECRET}}
    written(offline.parent, document)
    assert command("backup", archive, "--config", offline).returncode == 0
    new = offline.parent / "new"
    new.mkdir()
    done = command("restore", archive, cwd=new)
    assert done.returncode == 1
    assert b"Name the file to write" in done.stderr
    done = command("restore", archive, "--config", new / "config.toml")
    assert done.returncode == 1
    assert b"ends with .json" in done.stderr
    done = command(
        "restore",
        archive,
        "--config",
        new / "config.json",
        INFERNET_EDGE_STORAGE__PATH=str(new / "d"),
    )
    assert done.returncode == 0, done.stderr
    assert b"server.tokens.phone" in done.stdout
    assert marks(new / "d" / DATABASE) == [1, 2, 3]
    assert (new / "config.json").stat().st_mode & 0o777 == 0o600
    failed = command("check", "--config", new / "config.json")
    assert failed.returncode == 78
    assert b"server.tokens.phone" in failed.stderr


def test_a_configuration_without_its_secrets_is_enough_to_restore(offline: Path) -> None:
    """As it is extracted from the archive; only storage.path has to be right."""
    archive = offline.parent / "b.tar"
    archive.write_bytes(make_archive((offline.parent / "data" / DATABASE).read_bytes()))
    marker = {"file": "left-out-of-the-backup"}
    document = {"storage": {"path": str(offline.parent / "other")}, "server": {"tokens": {}}}
    config = written(offline.parent, {**document, "docker": {"password": marker}})
    done = command("restore", archive, "--config", config)
    assert done.returncode == 0, done.stderr
    assert marks(offline.parent / "other" / DATABASE) == [1, 2, 3]
    for text in ('{"storage": {"path": 5}}', "{"):
        config.write_text(text)
        done = command("restore", archive, "--config", config)
        assert done.returncode == 78
        assert b"Traceback" not in done.stderr


def test_the_place_of_a_secret_is_not_the_archives_choice(tmp_path: Path) -> None:
    """A file outside of the configuration's folder is not written, nor one that exists."""
    make_database(tmp_path / "data" / DATABASE)
    outside, inside = tmp_path / "outside", tmp_path / "etc/inside"
    (tmp_path / "etc").mkdir()
    for path in (outside, inside):
        path.write_text(SECRET)
        path.chmod(0o600)
    config = written(
        tmp_path / "etc",
        {
            "storage": {"path": str(tmp_path / "data")},
            "server": {"tokens": {"a": {"file": str(outside)}, "b": {"file": str(inside)}}},
        },
    )
    archive = tmp_path / "b.tar"
    assert command("backup", archive, "--config", config, "--with-secrets").returncode == 0
    outside.unlink()
    inside.write_text("another")
    config.unlink()
    done = command("restore", archive, "--config", config)
    assert done.returncode == 0, done.stderr
    assert not outside.exists()
    assert inside.read_text() == "another"
    assert done.stdout.count(b"is not written") == 2
