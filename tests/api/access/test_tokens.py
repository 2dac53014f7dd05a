"""The tokens of a node: comparison in constant time, last uses, expiry by a wrong clock."""

from __future__ import annotations

import asyncio
import hmac
from pathlib import Path

import pytest

from infernet_edge.api.access.tokens import Tokens
from infernet_edge.clock import milliseconds
from infernet_edge.config.secret_files import Secret
from infernet_edge.config.values.tokens import Token
from infernet_edge.errors import Conflict, Unauthenticated, Unavailable
from infernet_edge.storage import dates
from infernet_edge.storage.dates import Dates
from infernet_edge.storage.token_file import FILE_NAME, StoredTokens, TokenFile
from tests.support.tokens import tokens_of

DAY = 24 * 3600 * 1000


class Elapsed:
    """The own time of a node in which none passes."""

    times_set = 0

    def now(self) -> int:
        return 0


async def loaded(folder: Path) -> Tokens:
    tokens = tokens_of({}, folder)
    await tokens.load()
    return tokens


async def test_all_tokens_are_compared_each_in_constant_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = await loaded(tmp_path)
    made = [(await tokens.create(f"t{number}", "read", None))[0] for number in range(20)]
    compared: list[tuple[bytes, bytes]] = []
    constant_time = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return constant_time(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for given, name in ((made[0], "t0"), (made[19], "t19"), ("iet_unknown", "")):
        compared.clear()
        if name:
            assert tokens.find(given.encode()).name == name
        else:
            with pytest.raises(Unauthenticated):
                tokens.find(given.encode())
        assert len(compared) == 20
        assert {len(each) for pair in compared for each in pair} == {64}  # whatever is sent


async def test_two_names_with_one_text_are_the_first_one() -> None:
    text = Secret("0123456789abcdef")
    tokens = tokens_of({"bob": text, "eve": Token(text, scope="operator")})
    assert tokens.find(b"0123456789abcdef").name == "bob"


async def test_last_uses_are_written_once_an_hour_and_at_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[object] = []
    write = TokenFile.write

    def counted(file: TokenFile, stored: StoredTokens) -> None:
        writes.append(stored)
        write(file, stored)

    monkeypatch.setattr(TokenFile, "write", counted)
    tokens = await loaded(tmp_path)
    text, _ = await tokens.create("phone", "read", None)
    assert len(writes) == 1
    for _ in range(500):
        tokens.find(text.encode())
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    assert len(writes) == 2
    (before,) = (await loaded(tmp_path)).grants
    assert before.last_used_at is not None
    await asyncio.sleep(0.01)
    tokens.find(text.encode())
    await tokens.close()
    assert len(writes) == 3
    await tokens.close()
    assert len(writes) == 3
    (after,) = (await loaded(tmp_path)).grants
    assert after.last_used_at is not None
    assert after.last_used_at > before.last_used_at


async def test_concurrent_changes_are_all_stored(tmp_path: Path) -> None:
    tokens = await loaded(tmp_path)
    await asyncio.gather(*(tokens.create(f"t{number}", "read", None) for number in range(30)))
    results = await asyncio.gather(
        *(tokens.create("same", "read", None) for _ in range(5)),
        *(tokens.revoke(f"t{number}") for number in range(10)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, Conflict) for each in results) == 4
    names = {f"t{number}" for number in range(10, 30)} | {"same"}
    assert {grant.name for grant in tokens.grants} == names
    assert {grant.name for grant in (await loaded(tmp_path)).grants} == names


async def test_concurrent_revocations_do_not_open_the_node_unasked(tmp_path: Path) -> None:
    tokens = await loaded(tmp_path)
    for name in ("a", "b"):
        await tokens.create(name, "read", None)
    results = await asyncio.gather(tokens.revoke("a"), tokens.revoke("b"), return_exceptions=True)
    assert sum(isinstance(each, Conflict) for each in results) == 1
    assert not tokens.is_open


async def test_reading_the_file_again_keeps_what_is_open_valid(tmp_path: Path) -> None:
    tokens = await loaded(tmp_path)
    text, grant = await tokens.create("phone", "read", None)
    await tokens.load()
    assert tokens.find(text.encode()) is grant
    (tmp_path / FILE_NAME).write_bytes(b"damaged")
    await tokens.load()
    assert not grant.is_valid()
    assert not tokens.is_open
    with pytest.raises(Unauthenticated, match="cannot read"):
        tokens.find(text.encode())


async def test_a_changed_configuration_ends_what_it_does_not_have() -> None:
    first, second = Secret("0123456789abcdef"), Secret("fedcba9876543210")
    tokens = tokens_of({"bob": first, "eve": second, "ann": Token(Secret("a" * 16), scope="read")})
    bob, eve, ann = tokens.grants
    tokens.configure({"bob": first, "ann": Token(Secret("a" * 16), scope="operator")})
    assert tokens.find(b"0123456789abcdef") is bob
    assert [each.is_valid() for each in (bob, eve, ann)] == [True, False, False]
    assert tokens.find(b"a" * 16).scope == "operator"
    with pytest.raises(Unauthenticated, match="not known"):
        tokens.find(b"fedcba9876543210")
    tokens.configure({})
    assert tokens.is_open
    assert not bob.is_valid()


async def test_a_file_that_cannot_be_put_aside_is_reported(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"damaged")
    tokens = await loaded(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    (tmp_path / FILE_NAME).mkdir()
    (tmp_path / f"{FILE_NAME}.damaged-5").write_bytes(b"in the way")
    tokens = await loaded(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dates, "now", lambda self: 5)
        with pytest.raises(Unavailable, match="cannot be written"):
            await tokens.create("phone", "read", None, replace_damaged=True)
    assert not tokens.is_open


async def test_a_wrong_clock_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = milliseconds()
    monkeypatch.setattr(dates, "milliseconds", lambda: wall)
    monkeypatch.setattr(dates, "follows_a_server", lambda: False)
    tokens = Tokens({}, TokenFile(tmp_path), Dates(Elapsed()))  # type: ignore[arg-type]
    await tokens.load()
    text, _ = await tokens.create("phone", "read", wall + 30 * DAY)
    for wrong in (0, wall - 20 * DAY, wall + 40 * 365 * DAY):
        monkeypatch.setattr(dates, "milliseconds", lambda wrong=wrong: wrong)
        with pytest.raises(Conflict, match="Set the clock"):
            await tokens.create("other", "read", wall + DAY)
        await tokens.create(f"never{wrong}", "read", None)
        assert tokens.find(text.encode()).name == "phone"
        assert any("Tokens may expire too late" in problem for problem in tokens.problems)
    monkeypatch.setattr(dates, "milliseconds", lambda: wall + 31 * DAY)
    with pytest.raises(Unauthenticated, match="expired on"):
        tokens.find(text.encode())
