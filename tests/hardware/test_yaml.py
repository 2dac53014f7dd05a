from __future__ import annotations

from typing import Any

import pytest

from infernet_edge.hardware.yaml import UnsupportedYAML, parse

# The form of NVIDIA's, AMD's and hand-written ones.
_DOCUMENT = """\
---
# a comment
cdiVersion: 0.5.0  # another
kind: "nvidia.com/gpu"
annotations: {}
containerEdits:
    env:
        - NVIDIA_VISIBLE_DEVICES=void
        - "A=b: c # d"
    hooks:
    - args:
      - nvidia-ctk
      - --link
      - libcuda.so.1::/usr/lib/libcuda.so
      hookName: createContainer
      path: /usr/bin/nvidia-ctk
    mounts:
      -
        hostPath: '/it''s here'
        options: [ro, "nosuid", bind]
devices:
- name: '0'
  containerEdits: {deviceNodes: [{path: /dev/nvidia0, hostPath: "/dev/x"}]}
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
      permissions:
  name: all
"""


def test_the_forms_that_programs_write() -> None:
    assert parse(_DOCUMENT) == {
        "cdiVersion": "0.5.0",
        "kind": "nvidia.com/gpu",
        "annotations": {},
        "containerEdits": {
            "env": ["NVIDIA_VISIBLE_DEVICES=void", "A=b: c # d"],
            "hooks": [
                {
                    "args": ["nvidia-ctk", "--link", "libcuda.so.1::/usr/lib/libcuda.so"],
                    "hookName": "createContainer",
                    "path": "/usr/bin/nvidia-ctk",
                }
            ],
            "mounts": [{"hostPath": "/it's here", "options": ["ro", "nosuid", "bind"]}],
        },
        "devices": [
            {
                "name": "0",
                "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0", "hostPath": "/dev/x"}]},
            },
            {
                "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0", "permissions": ""}]},
                "name": "all",
            },
        ],
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""),
        ("# nothing\n", ""),
        ("a", "a"),
        ("- a\n- - b\n  - c\n-\n- d: e\n", ["a", ["b", "c"], "", {"d": "e"}]),
        ("a:\n- b\nc: d", {"a": ["b"], "c": "d"}),
        ("a: [b, [c], {d: e}]", {"a": ["b", ["c"], {"d": "e"}]}),
        ('{"a":1,"b":[true]}', {"a": "1", "b": ["true"]}),
        ("a: x#y", {"a": "x#y"}),
        ("'a b': c", {"a b": "c"}),
    ],
)
def test_small_documents(text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: &x b", 1),
        ("a: *x", 1),
        ("a: |\n  text", 1),
        ("a: b\n  c: d", 2),
        ("a:\n    b: c\n  d: e", 3),
        ("a: [b", 1),
        ("a: [b}", 1),
        ("a: {b, c}", 1),
        ("\ta: b", 1),
        ("a: 'b", 1),
        ("a: b\nc", 2),
        ("a: b: c", 1),
        ("- a\nb: c", 2),
        ("[" * 100, 1),
        ("- " * 100 + "a", 1),
    ],
)
def test_unsupported_forms(text: str, line: int) -> None:
    with pytest.raises(UnsupportedYAML, match=f"^line {line}$"):
        parse(text)
