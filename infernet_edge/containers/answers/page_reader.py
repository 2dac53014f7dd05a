"""The visible texts of an HTML page.

A module of its own: the library's table of entities takes half a megabyte, and few nodes need it.
"""

from __future__ import annotations

from html.parser import HTMLParser

_INVISIBLE = ("script", "style", "template", "noscript", "svg")


class PageReader(HTMLParser):
    """Collects the visible texts of a page; those of inline tags are joined."""

    _BLOCKS = frozenset(
        [
            "title",
            "h1",
            "h2",
            "h3",
            "h4",
            "h5",
            "h6",
            "p",
            "div",
            "pre",
            "center",
            "hr",
            "br",
            "li",
            "ul",
            "ol",
            "table",
            "tr",
            "td",
            "th",
            "section",
            "article",
            "header",
            "footer",
            "main",
            "body",
            "blockquote",
            "dl",
            "dt",
            "dd",
            "form",
        ]
    )

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = [""]
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _INVISIBLE:
            self._hidden += 1
        elif tag in self._BLOCKS:
            self.parts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in _INVISIBLE:
            self._hidden = max(0, self._hidden - 1)
        elif tag in self._BLOCKS:
            self.parts.append("")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts[-1] += data
