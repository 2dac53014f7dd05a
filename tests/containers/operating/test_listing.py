from __future__ import annotations

import pytest

from infernet_edge.config.model import Container
from infernet_edge.containers.operating.listing import (
    Load,
    Management,
    item_of,
    shown_state,
    without_credentials,
)
from infernet_edge.containers.service import Service


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:pass@host:1/path?key=1#x", "http://host:1/path"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("http://host", "http://host"),
    ],
)
def test_urls_are_shown_without_secrets(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


def test_the_reason_of_a_service_has_no_secret_of_its_url() -> None:
    service = Service(Container(id="a", url="http://host/?key=s3cret"), managed=False)
    service.set_failed("no answer from http://host/?key=s3cret")
    item = item_of(service, Load(0, 1, 0), Management())
    assert "s3cret" not in f"{item.reason} {item.url}"


def test_a_suspect_container_is_ready_since_the_same_time() -> None:
    service = Service(Container(id="a", image="b"), managed=True)
    service.set_ready()
    since = service.since = 5
    service.set_suspect("a call failed")
    assert (shown_state(service), service.since) == ("ready", since)
    service.set_ready()
    assert service.since == since
    service.set_failed("it stopped")
    assert (shown_state(service), service.since > since) == ("failed", True)
