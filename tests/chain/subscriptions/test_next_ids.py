from __future__ import annotations

from infernet_edge.chain.subscriptions.next_ids import NextIds


def test_nothing_is_known_at_first() -> None:
    ids = NextIds()
    assert (ids.newest, ids.at(100)) == (0, 0)


def test_what_is_there_at_first_may_be_old() -> None:
    ids = NextIds()
    ids.note(100, 7)
    assert ids.at(90) == 7


def test_a_new_id_counts_from_the_block_on_in_which_it_was_seen() -> None:
    ids = NextIds()
    ids.note(100, 7)
    ids.note(101, 7)
    ids.note(102, 9)
    assert ids.newest == 9
    assert [ids.at(block) for block in (100, 101, 102, 103)] == [7, 7, 9, 9]


def test_fewer_ids_are_noticed_as_well() -> None:
    ids = NextIds()
    ids.note(100, 7)
    ids.note(103, 5)
    assert ids.at(102) == 7
    assert ids.at(103) == 5


def test_an_answer_without_an_id_leaves_it_unknown() -> None:
    ids = NextIds()
    ids.note(100, 7)
    ids.note(101, 0)
    assert (ids.newest, ids.at(101)) == (0, 0)
    ids.note(102, 7)
    assert ids.at(101) == 7


def test_after_a_reorg_nothing_is_known() -> None:
    ids = NextIds()
    ids.note(100, 7)
    ids.clear()
    assert (ids.newest, ids.at(100)) == (0, 0)
    ids.note(99, 5)
    assert ids.at(98) == 5


def test_only_changes_above_the_depth_are_kept() -> None:
    ids = NextIds()
    for block in range(1000):
        ids.note(block, block + 1)
        ids.at(block - 2)
    assert len(ids._changes) <= 4  # noqa: SLF001 - its bound
