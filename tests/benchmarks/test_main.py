"""The command: exit codes, and what it writes. The figures are given; nothing is measured."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks import table
from tests.benchmarks.bench import Bench, Unavailable
from tests.benchmarks.results import Line, Row

LINE = Line("jobs.64.rate", "jobs/s", "1/s", more=True)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the next run finds: ratios to the floor, one for each round."""
    found = [1.0, 1.0, 1.0]

    def measure(*arguments: object) -> command.Measured:
        return command.Measured([Row(LINE, list(found), [1.0] * len(found))])

    monkeypatch.setattr(command, "measure", measure)
    return found


def test_a_slower_node_ends_with_1(
    figures: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--folder", str(tmp_path), "--stored", str(tmp_path / "stored.json")]
    assert command.main([*options, "--store"]) == 0
    assert "There is no stored table" in capsys.readouterr().out
    assert command.main(options) == 0
    figures[:] = [0.7, 0.7, 0.7]
    assert command.main(options) == 1
    assert "More than 20 % worse: jobs.64.rate" in capsys.readouterr().out
    figures[:] = [0.2, 0.7, 1.2]
    assert command.main(options) == 0
    assert "noisy" in capsys.readouterr().out
    figures[:] = [0.7, 0.7, 0.7]
    assert command.main([*options, "--store"]) == 1  # stored all the same
    assert command.main(options) == 0


def test_it_writes_the_page_and_the_results(
    figures: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{table.BEGIN}\n{table.END}\n")
    monkeypatch.setattr(table, "write_page", lambda text: write_page(text, page))
    results = tmp_path / "results.json"
    options = ["--folder", str(tmp_path), "--stored", str(tmp_path / "stored.json")]
    assert command.main([*options, "--page", "--json", str(results), "--note", "noted"]) == 0
    assert "noted" in page.read_text()
    assert msgspec.json.decode(results.read_bytes())["rows"][0]["line"]["name"] == LINE.name


write_page = table.write_page


@pytest.mark.parametrize(
    "options", [["--only", "jobs,nothing"], ["--quick", "--store"], ["--only", "jobs", "--page"]]
)
def test_what_makes_no_sense_is_a_usage_error(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([*options, "--folder", str(tmp_path)])
    assert ended.value.code == 2
    assert "error: --" in capsys.readouterr().err


def test_a_group_that_fails_does_not_end_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(bench: Bench) -> list[Row]:
        raise AssertionError("no answer\nand a long log")

    def lacks(bench: Bench) -> list[Row]:
        raise Unavailable("cc is missing")

    groups = {"jobs": fails, "disk": lacks, "idle": lambda bench: [Row(LINE, [1.0], [1.0])]}
    monkeypatch.setattr(command, "GROUPS", groups)
    stored = tmp_path / "stored.json"
    assert command.main(["--folder", str(tmp_path), "--stored", str(stored), "--store"]) == 1
    shown = capsys.readouterr().out
    assert "jobs/s, 1/s" in shown
    assert "not measured: jobs: failed: no answer\n" in shown
    assert "not measured: disk: cc is missing" in shown
    assert not stored.exists()
