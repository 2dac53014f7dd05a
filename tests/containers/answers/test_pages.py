from __future__ import annotations

import time

import pytest

from infernet_edge.containers.answers.pages import MAX_LINE_CHARACTERS, is_page, one_line, page_text

FLASK = """<!doctype html>
<html lang=en>
<title>500 Internal Server Error</title>
<h1>Internal Server Error</h1>
<p>The server encountered an internal error and was unable to
 complete your request.</p>
"""
GUNICORN = """<html>
  <head>
    <title>Internal Server Error</title>
  </head>
  <body>
    <h1><p>Internal Server Error</p></h1>

  </body>
</html>
"""
NGINX = """<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad \
Gateway</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n<!-- a padding \
to disable MSIE and Chrome friendly error page -->\r\n"""
PYTHON = """<!DOCTYPE HTML>
<html lang="en">
    <head>
        <meta charset="utf-8">
        <style type="text/css">h1 { color: red }</style>
        <title>Error response</title>
    </head>
    <body>
        <h1>Error response</h1>
        <p>Error code: 501</p>
        <p>Message: Unsupported method (&#x27;POST&#x27;).</p>
    </body>
</html>
"""


@pytest.mark.parametrize(
    ("page", "line"),
    [
        (
            FLASK,
            "500 Internal Server Error - The server encountered an internal error and was unable"
            " to complete your request.",
        ),
        (GUNICORN, "Internal Server Error"),
        (NGINX, "502 Bad Gateway - nginx/1.22.1"),
        (PYTHON, "Error response - Error code: 501 - Message: Unsupported method ('POST')."),
        ("<h1>a <b>bold</b> word</h1>", "a bold word"),
        ("<html><body></body></html>", ""),
        ("<html><script>if (a < b) {}</script><p>shown", "shown"),
        ("<html><p>cut within a tag<img src='x", "cut within a tag"),
        ("<html><![unknown word]><p>shown", "shown"),
        ("<html><!--[if IE]><p>hidden<![endif]--><![if !IE]><p>shown<![endif]>", "shown"),
        ("", ""),
    ],
)
def test_a_page_becomes_one_line(page: str, line: str) -> None:
    assert page_text(page) == line


def test_a_long_page_is_cut() -> None:
    line = page_text("<html><p>" + "word " * 1000)
    assert len(line) == MAX_LINE_CHARACTERS
    assert line.endswith("…")


@pytest.mark.parametrize("page", [FLASK, GUNICORN, NGINX, PYTHON, "<!-- x --><HTML>", "<h1>no"])
def test_a_page_is_recognised_without_its_type(page: str) -> None:
    assert is_page(page, "text/plain")


@pytest.mark.parametrize("text", ["x < y", '{"a": "<html>"}', "<output>5</output>", ""])
def test_other_texts_are_not_pages(text: str) -> None:
    assert not is_page(text, "text/plain; charset=utf-8")
    assert is_page(text, "text/html")


def test_many_comments_take_no_time() -> None:
    """A search that goes back into each comment would take 2 to the power of their number."""
    before = time.process_time()
    assert not is_page("<!---->" * 500 + "no page", "text/plain")
    assert is_page("<!-- -->\n" * 500 + "<html>", "text/plain")
    assert time.process_time() - before < 1


def test_a_line_has_no_colours_and_no_control_characters() -> None:
    coloured = "\x1b[31mValueError\x1b[0m:\tbad\x00 \x1b]0;title\x07value\r\n"
    assert one_line(coloured) == "ValueError: bad value"
