"""Files of users are changed in one place; all else in them stays as it is."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from infernet_edge.config.recipes.edits import EditFailed, add_container, remove_container
from infernet_edge.config.rendering import to_toml

NEW: dict[str, Any] = {"id": "new", "image": "new:1", "env": {"A": "# [[containers]]"}}

FILES = {
    "empty": "",
    "no containers": "# mine\n[server] # here\nport = 4001 # ours\n",
    "an empty list": "# before\ncontainers = [] # none yet\n\n[server]\nport = 4001\n",
    "tables": """\
# my node
[[containers]] # the first
id = "a" # its name
url = "http://a"
[containers.env]
TEXT = '''
[[containers]]
'''

# The second.
[[containers]]
id = "b"
url = "http://b"

# What is served.
[server]
port = 4001
""",
    "tables in several places": """\
[[containers]]
id = "a"
url = "http://a"
[server]
port = 4001
# the last
[[containers]]
id = "b"
url = "http://b"
# of b
#port = 3000

# The end of the file.
""",
    "an inline list": """\
containers = [ # mine
  { id = "a", url = "http://a", volumes = ["x:/y"] }, # the first
  # the second
  { id = "b", url = "http://b" } # the last
]
[server]
port = 4001
""",
    "one line": 'containers = [{id="a", url="http://a"}, {id = "b", url = "http://b"},]\n',
    "quoted keys": '[["containers"]]\n"id" = "a"\nurl = "x"\n[ "containers" . env ]\nX = 1\n',
    "strings": 'a = """\\"\\"\\" [ """\nb = \'[[containers]]\'\nc = """x"""""\nd = [ # ]\n1]\n',
}


def comments(text: str) -> set[str]:
    return {line[line.index("#") :] for line in text.splitlines() if "#" in line}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_container_is_added_and_removed(name: str, ending: str) -> None:
    text = FILES[name].replace("\n", ending)
    before = tomllib.loads(text)
    added = add_container(text, ".toml", NEW, "new.json")
    assert tomllib.loads(added) == {
        **before,
        "containers": [*before.get("containers", []), NEW],
    }
    assert comments(text) <= comments(added)
    again = remove_container(added, ".toml", "new")
    assert comments(again) == comments(text)
    assert tomllib.loads(again).get("containers", []) == before.get("containers", [])
    if before.get("containers") != []:
        assert again.strip() == text.strip() or "containers = [" in text


@pytest.mark.parametrize(
    ("name", "identifier"),
    [(name, each) for name, text in FILES.items() for each in "ab" if f'"{each}"' in text],
)
def test_a_container_of_the_user_is_removed(name: str, identifier: str) -> None:
    text = FILES[name]
    before = tomllib.loads(text)
    made = remove_container(text, ".toml", identifier)
    left = [each for each in before["containers"] if each["id"] != identifier]
    assert tomllib.loads(made).get("containers", []) == left
    kept = {"# my node", "# What is served.", "# mine", "# The end of the file."}
    assert kept & comments(text) <= comments(made)
    with pytest.raises(KeyError):
        remove_container(made, ".toml", identifier)


def test_files_that_init_wrote() -> None:
    """Its comments explain every setting; those of the next table stay there."""
    text = to_toml({"containers": [{"id": "a", "image": "a"}, {"id": "b", "image": "b"}]})
    added = add_container(text, ".toml", NEW)
    assert remove_container(added, ".toml", "new") == text
    one = remove_container(text, ".toml", "b")
    assert [each["id"] for each in tomllib.loads(one)["containers"]] == ["a"]
    none = remove_container(one, ".toml", "a")
    assert "[[containers]]" not in none
    chain = text[: text.index("\n[chain]")].rpartition("\n")[2]
    assert f"{chain}\n[chain]" in none


def test_json_keeps_order_and_indentation() -> None:
    text = '{\n    "server": {"port": 4001},\n    "containers": [],\n    "_note": "käse"\n}'
    added = add_container(text, ".json", NEW)
    assert json.loads(added)["containers"] == [NEW]
    assert list(json.loads(added)) == ["server", "containers", "_note"]
    assert '\n    "_note": "käse"' in added
    assert json.loads(remove_container(added, ".json", "new")) == json.loads(text)
    assert json.loads(add_container("{}", ".json", NEW)) == {"containers": [NEW]}


@pytest.mark.parametrize("text", ['containers = "x"', 'a.b = 1\n[containers]\nid = "x"'])
def test_what_cannot_be_edited_is_refused(text: str) -> None:
    with pytest.raises(EditFailed):
        add_container(text, ".toml", NEW)


def test_an_unusual_form_is_refused_rather_than_damaged() -> None:
    text = 'containers = [\n  { id = "a", url = "x" } ]'
    assert tomllib.loads(add_container(text, ".toml", NEW))["containers"][1] == NEW
