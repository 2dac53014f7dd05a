"""Texts that may hold a secret."""

from __future__ import annotations

import pytest

from infernet_edge.config.values.secret_texts import may_hold_secret


@pytest.mark.parametrize(
    "text",
    [
        *("https://user:pass@a.example", "https://user@a.example/x", "see 'http://a/?key=1' now"),
        *("--api-key xyz", "--api_key=xyz", "-token xyz", "PASSWORD=xyz serve", "--hf-token=xyz"),
        *("Authorization: Bearer xyz", "basic dTpw", "https://[broken"),
    ],
)
def test_found(text: str) -> None:
    assert may_hold_secret(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "serve --port 3000", "https://a.example/path", "--model llama-3b", "--tokenizer a"),
        *("a token", "basic", "--context 4096", "max_tokens", "--max-tokens 5"),
    ],
)
def test_not_found(text: str) -> None:
    assert not may_hold_secret(text)
