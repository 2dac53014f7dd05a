"""Scopes and the permissions that endpoints need."""

from __future__ import annotations

import pytest

from infernet_edge.api.access.permissions import SCOPES, Permission, demand, usual_permission
from infernet_edge.errors import Forbidden


@pytest.mark.parametrize(
    ("scope", "permissions"),
    [
        ("read", {Permission.READ}),
        ("submit", {Permission.READ, Permission.SUBMIT}),
        ("operator", set(Permission)),
        ("metrics", {Permission.MEASURE}),
    ],
)
def test_a_scope_has_these_permissions_only(scope: str, permissions: set[Permission]) -> None:
    assert {each for each in Permission if each in SCOPES[scope]} == permissions
    for each in Permission:
        if each in permissions:
            demand(each, SCOPES[scope])
        else:
            with pytest.raises(Forbidden, match="This needs the scope") as refusal:
                demand(each, SCOPES[scope])
            named = refusal.value.params["scope"]
            assert each in SCOPES[named]


def test_reading_needs_less_than_writing() -> None:
    assert usual_permission("GET") == usual_permission("HEAD") == Permission.READ
    assert usual_permission("POST") == usual_permission("DELETE") == Permission.SUBMIT
