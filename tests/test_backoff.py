from infernet_edge.backoff import Backoff


def test_pauses_double_up_to_the_limit() -> None:
    pauses = Backoff(1, 60)
    assert [pauses.next() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    pauses.reset()
    assert pauses.next() == 1
