"""HTML pages of services as one line of text: frameworks answer their errors as pages."""

from __future__ import annotations

import re

MAX_LINE_CHARACTERS = 300
"""Characters of a page, or of a line of a log, that are shown."""

# Without backtracking into the comments, of which there may be hundreds.
_BEGINNING = re.compile(
    r"\s*+(?:<\?xml[^>]*+>\s*+)?+(?:<!--.*?-->\s*+)*+<(?:!doctype\s+html|html|head|"
    r"body|title|h1)\b",
    re.IGNORECASE | re.DOTALL,
)
# Terminals interpret sequences that begin with ESC (ECMA-48); programs colour their logs with them.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")


def is_page(text: str, content_type: str) -> bool:
    """Whether the beginning of an answer is an HTML page; not all servers declare it."""
    return "html" in content_type.lower() or _BEGINNING.match(text) is not None


def page_text(page: str) -> str:
    """The visible text of an HTML page, or of its beginning, as one line; "" when it has none."""
    from infernet_edge.containers.answers.page_reader import PageReader

    reader = PageReader()
    # Python's parser raises AssertionError for "<![" and a word that SGML does not know. With a
    # space it is a comment, as in browsers.
    reader.feed(page.replace("<![", "<! ["))
    if "<" not in reader.rawdata:  # the rest of a page that was cut within a tag is no text
        reader.close()
    parts: list[str] = []
    for part in map(one_line, reader.parts):
        # The heading often repeats the title, with or without the number of the status.
        if part and not any(part in other for other in parts):
            parts.append(part)
    return one_line(" - ".join(parts))


def one_line(text: str) -> str:
    """Text without line breaks, control characters and colours, at most MAX_LINE_CHARACTERS."""
    text = _ESCAPES.sub("", text)
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= MAX_LINE_CHARACTERS else f"{line[: MAX_LINE_CHARACTERS - 1]}…"
