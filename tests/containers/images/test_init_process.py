from __future__ import annotations

import pytest

from infernet_edge.containers.images.init_process import (
    brings_own,
    has_to_be_first,
    hides_cause,
    is_missing,
)
from infernet_edge.containers.podman import LocalImage


@pytest.mark.parametrize(
    ("program", "takes_command", "command", "own"),
    [
        ("/init", False, "--workers=2", True),
        ("/usr/bin/tini", False, "", True),
        ("dumb-init", False, "", True),
        ("/sbin/init", True, "", True),
        ("/sbin/init", True, "python app.py", False),
        ("python", True, "/init app", True),
        ("python", True, "", False),
        ("/usr/bin/gunicorn", False, "tini", False),
        ("", True, "", False),
    ],
)
def test_an_image_that_brings_an_init_process(
    program: str, takes_command: bool, command: str, own: bool
) -> None:
    image = LocalImage("1", program=program, takes_command=takes_command)
    assert brings_own(image, command) == own


def test_the_errors_of_podman_without_an_init_program() -> None:
    said = "container-init binary not found on the host: stat /x/catatonit: no such file"
    assert is_missing(f"Podman could not create container x: {said}")
    assert is_missing('could not find "catatonit" in one of [/usr/libexec/podman]')
    assert not is_missing("crun: executable file `init` not found in $PATH")


def test_programs_that_have_to_be_the_first_process() -> None:
    assert has_to_be_first("s6-overlay-suexec: fatal: can only run as pid 1")
    assert has_to_be_first("this program must be PID1")
    assert not has_to_be_first("catatonit: failed to exec pid1: No such file or directory")
    assert not has_to_be_first("started as pid 17")


def test_an_init_process_may_hide_why_a_program_does_not_start() -> None:
    catatonit = "ERROR (catatonit:6): failed to exec pid1: No such file or directory"
    assert hides_cause(f"it stopped with exit code 1; its last output: {catatonit}")
    assert hides_cause("it stopped with exit code 0")
    assert not hides_cause("it stopped with exit code 0; its last output: done")
    assert not hides_cause("it stopped with exit code 1")
