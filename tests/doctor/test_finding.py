from __future__ import annotations

from infernet_edge.doctor.finding import Finding, not_checked, ok, problem, together, warning


def test_one_alone_is_itself() -> None:
    found = warning("cold", "wait", command="sleep 1")
    assert together([found]) == found


def test_several_have_the_worst_level_and_leave_out_what_is_ok() -> None:
    found = [ok("a"), problem("b", "r", command="x"), warning("c", "r", command="y"), ok("d")]
    assert together(found) == Finding("problem", "b; c", "r", "x && y")
    assert together([ok("a"), not_checked("b")]) == Finding("unknown", "not checked: b")
    assert together([ok("a"), ok("b")]) == ok("a; b")
