from __future__ import annotations

from pathlib import Path

import pytest

from infernet_edge.containers.images.platforms import obstacle


@pytest.mark.parametrize(
    ("image", "machine"),
    [
        ("amd64", "amd64"),
        ("amd64", "x86_64"),
        ("386", "amd64"),
        ("aarch64", "arm64"),
        ("arm", "arm64"),
        ("", "amd64"),
        ("riscv64", ""),
    ],
)
def test_images_that_run(image: str, machine: str, tmp_path: Path) -> None:
    assert obstacle("llm:1", image, "linux", machine, tmp_path) == ""
    assert obstacle("llm:1", image, "", machine, tmp_path) == ""


@pytest.mark.parametrize(
    ("image", "machine"), [("arm64", "amd64"), ("amd64", "arm64"), ("arm64", "arm")]
)
def test_images_for_another_machine(image: str, machine: str, tmp_path: Path) -> None:
    assert obstacle("llm:1", image, "linux", machine, tmp_path) == "", "handlers are not visible"
    (tmp_path / "proc/sys/fs").mkdir(parents=True)
    assert obstacle("llm:1", image, "linux", machine, tmp_path) == (
        f"image llm:1 is for {image}, this machine is {machine}: use an image for {machine}"
    )


def test_an_image_for_another_system(tmp_path: Path) -> None:
    found = obstacle("llm:1", "amd64", "windows", "amd64", tmp_path)
    assert found == "image llm:1 is for windows, this machine is linux: use an image for linux"


@pytest.mark.parametrize(
    ("name", "text", "runs"),
    [
        ("qemu-aarch64", "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\n", True),
        ("qemu-aarch64", "disabled\ninterpreter /usr/bin/qemu-aarch64-static\n", False),
        ("qemu-arm", "enabled\ninterpreter /usr/bin/qemu-arm-static\n", False),
        ("emulator", "enabled\ninterpreter /opt/run-aarch64\n", True),
        ("status", "enabled\n", False),
        ("python3.11", "enabled\ninterpreter /usr/bin/python3.11\n", False),
    ],
)
def test_a_handler_of_the_kernel_runs_images_for_another_machine(
    tmp_path: Path, name: str, text: str, runs: bool
) -> None:
    folder = tmp_path / "proc/sys/fs/binfmt_misc"
    folder.mkdir(parents=True)
    (folder / name).write_text(text)
    assert (obstacle("llm:1", "arm64", "linux", "amd64", tmp_path) == "") == runs
