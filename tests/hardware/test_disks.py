from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from infernet_edge.hardware.disks import Usage, disk_usage, mount_of, read_disks, real_mounts
from tests.support.machines import root_of

FILESYSTEMS = "nodev\ttmpfs\nnodev\toverlay\nnodev\tnfs\n\text4\n\tbtrfs\n\tsquashfs\n\tvfat\n"


def same_usage(_: str) -> Usage | None:
    return Usage(size=100, used=60, available=35)


def disks_of(root: Path) -> list[tuple[str, str]]:
    return [(disk.mount_point, disk.filesystem) for disk in read_disks(root, same_usage)]


def mounted(folder: Path, *mounts: str) -> Path:
    """A root where `mounts` are mounted: device, subtree, mount point, filesystem."""
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/filesystems").write_text(FILESYSTEMS)
    lines = [
        f"{20 + number} 1 {device} {subtree} {point} rw,noatime shared:1 - {filesystem} source rw"
        for number, (device, subtree, point, filesystem) in enumerate(m.split() for m in mounts)
    ]
    (folder / "proc/self/mountinfo").write_text("\n".join(lines) + "\n")
    return folder


def test_raspberry_pi_has_its_card_and_its_usb_disk() -> None:
    assert disks_of(root_of("raspberry-pi-5")) == [
        ("/", "ext4"),
        ("/boot/firmware", "vfat"),
        ("/media/pi/My Disk", "ext4"),
    ]


def test_snaps_are_not_disks() -> None:
    assert disks_of(root_of("jetson-orin-nano")) == [("/", "ext4"), ("/boot/efi", "vfat")]


def test_a_filesystem_counts_once(tmp_path: Path) -> None:
    root = mounted(
        tmp_path,
        "8:1 / / ext4",
        "8:1 /var/lib/data /srv ext4",
        "8:2 /inner /a ext4",
        "8:2 / /mnt/whole ext4",
        "0:40 /@home /home btrfs",
        "0:40 /@longer /home/longer btrfs",
    )

    assert disks_of(root) == [("/", "ext4"), ("/home", "btrfs"), ("/mnt/whole", "ext4")]


def test_the_root_counts_even_where_it_is_a_subvolume(tmp_path: Path) -> None:
    root = mounted(tmp_path, "0:40 / /sysroot btrfs", "0:40 /deploy/x / btrfs")

    assert disks_of(root) == [("/", "btrfs")]


@pytest.mark.parametrize("filesystem", ["overlay", "nfs", "zfs"])
def test_a_root_without_a_block_device_counts(tmp_path: Path, filesystem: str) -> None:
    # In a container, on a Pi with a read-only card, or booted from the network.
    root = mounted(tmp_path, f"0:30 / / {filesystem}", "0:31 / /var/lib/x/merged overlay")

    assert disks_of(root) == [("/", filesystem)]


def test_a_root_in_memory_is_not_a_disk(tmp_path: Path) -> None:
    assert disks_of(mounted(tmp_path, "0:2 / / rootfs", "0:3 / /run tmpfs")) == []


def test_what_is_hidden_by_another_mount_does_not_count(tmp_path: Path) -> None:
    assert disks_of(mounted(tmp_path, "8:1 / /data ext4", "0:9 / /data tmpfs")) == []


def test_sizes(tmp_path: Path) -> None:
    (disk,) = read_disks(mounted(tmp_path, "8:1 / / ext4"), same_usage)

    assert (disk.size, disk.used, disk.available) == (100, 60, 35)


def test_what_cannot_be_read_or_has_no_size_is_left_out(tmp_path: Path) -> None:
    root = mounted(tmp_path, "8:1 / / ext4", "8:1 /x /x ext4", "8:2 / /y ext4", "8:3 / /z ext4")
    usages = {"/x": Usage(5, 1, 4), "/y": Usage(0, 0, 0)}

    assert [disk.mount_point for disk in read_disks(root, usages.get)] == ["/x"]


def test_a_file_is_not_a_disk(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("")

    assert disk_usage(str(tmp_path / "hosts")) is None
    assert disk_usage(str(tmp_path / "missing")) is None
    assert disk_usage(str(tmp_path)) is not None


def test_invalid_lines_are_ignored(tmp_path: Path) -> None:
    root = mounted(tmp_path, "8:1 / / ext4")
    with (root / "proc/self/mountinfo").open("ab") as file:
        file.write(b"\nnonsense\n1 2 3 - ext4\n1 2 8:9 / /\xff\\040 rw - ext4 x rw\n")

    (disk, odd) = read_disks(root, same_usage)
    assert disk.mount_point == "/"
    odd.mount_point.encode()


def test_without_proc_psutil_is_used(tmp_path: Path) -> None:
    expected = {disk.mountpoint for disk in psutil.disk_partitions()}

    assert {mount.mount_point for mount in real_mounts(tmp_path)} == expected


def test_this_machine() -> None:
    (root,) = (disk for disk in read_disks(Path("/")) if disk.mount_point == "/")

    status = os.statvfs("/")
    assert root.size == status.f_blocks * status.f_frsize
    assert 0 < root.used <= root.size
    assert root.filesystem


def test_what_a_path_is_on(tmp_path: Path) -> None:
    root = mounted(tmp_path, "8:1 / / ext4", "8:2 / /srv ext4", "8:3 / /srv/the\\040card ext4")
    found = mount_of(Path("/srv/the card/data/x"), root)
    assert found is not None
    assert (found.mount_point, found.read_only) == ("/srv/the card", False)
    other = mount_of(Path("/srv/the cards"), root)
    assert other is not None
    assert other.mount_point == "/srv"
    assert mount_of(Path("/"), tmp_path / "without proc") is None


@pytest.mark.parametrize(("own", "whole"), [("ro", "rw"), ("rw", "ro,errors=remount-ro")])
def test_what_is_mounted_for_reading_only(tmp_path: Path, own: str, whole: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    line = f"20 1 8:1 / / {own},noatime - ext4 /dev/mmcblk0p2 {whole}\n"
    (tmp_path / "proc/self/mountinfo").write_text(line)
    found = mount_of(Path("/srv"), tmp_path)
    assert found is not None
    assert found.read_only
