from __future__ import annotations

import pytest

from infernet_edge.events.public_text import has_path, public


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("The file /var/lib/edge/x.sqlite was lost.", "The file (path) was lost."),
        ("Podman at unix:///run/podman/podman.sock.", "Podman at (path)."),
        ("stat /dev: missing", "stat (path): missing"),
        ("Kept as '/srv/my data/x'", "Kept as '(path)'"),
        ('error mounting "/srv/my data/x" to "/in"', 'error mounting "(path)" to "(path)"'),
        ("open:/etc/x, mount /srv/a:/b:ro", "open:(path), mount (path):(path):ro"),
        ("//nas/share/x and /a//b/ here", "(path) and (path) here"),
        ("/srv/#1&2/$x/key=1.", "(path)."),
        ("image docker.io/library/alpine:3 is damaged", None),
        ("No answer from http://192.168.1.2:3000/health now.", None),
        ("registry:5000/a:b has https://a.lan/x//y, not docker://a/b", None),
        ("It uses 1/2 of the slots and/or more.", None),
        (
            "It stopped with exit code 1; its last output: secret of /etc",
            "It stopped with exit code 1.",
        ),
        (
            "Container answered 500; the last line of its log: ValueError\nof /etc",
            "Container answered 500.",
        ),
    ],
)
def test_no_paths_and_no_output(text: str, shown: str | None) -> None:
    assert public(text) == (text if shown is None else shown)


def test_whether_a_path_is_in_it() -> None:
    assert has_path("rm /var/lib/x")
    assert not has_path("infernet-edge doctor")
