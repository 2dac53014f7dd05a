"""The table, as text and as Markdown in the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmarks.comparison import Change, StoredRun, compare
from tests.benchmarks.machine import Run
from tests.benchmarks.results import BARE, Row
from tests.support.markdown import DOCS

PAGE = DOCS / "benchmarks.md"
BEGIN = "<!-- The table: written by python -m tests.benchmarks --page -->"
END = "<!-- The end of the table -->"

_HEADINGS = ("", "node", "floor", "ratio", "spread", "goal", "", "stored", "")


def head(run: Run) -> str:
    """On what, when, and with which commit."""
    machine = run.machine
    memory = f"{machine.memory_mebibytes / 1024:.1f} GiB"
    parts = [
        f"{machine.cpu}, {machine.cores} cores, {memory}, {machine.disk}",
        f"kernel {run.kernel}, CPython {run.python}",
        f"commit {run.commit}",
        f"{run.date} UTC",
        f"{run.rounds} rounds",
        f"load before it {run.load:g}",
    ]
    return "; ".join([*parts, run.note] if run.note else parts)


def changes(rows: Sequence[Row], stored: StoredRun | None) -> dict[str, Change]:
    """What has become of each row since the stored run, by the name of its line."""
    before = stored.rows if stored else {}
    return {row.line.name: compare(row, before.get(row.line.name)) for row in rows}


def text(
    rows: Sequence[Row], stored: StoredRun | None, missing: Mapping[str, str] | None = None
) -> str:
    """The rows in columns; below them groups that could not be measured, with the reason."""
    before = stored.rows if stored else {}
    found = changes(rows, stored)
    lines: list[tuple[str, ...]] = [_HEADINGS]
    for row in rows:
        was = before.get(row.line.name)
        change = found[row.line.name]
        verdict = "" if change.verdict in ("same", "new") else _percent(change)
        lines.append((*_cells(row), _stored(row, was.measure) if was else "", verdict))
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    shown = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    shown += [f"not measured: {group}: {reason}" for group, reason in (missing or {}).items()]
    return "\n".join(shown)


def markdown(run: Run, rows: Sequence[Row], missing: Mapping[str, str] | None = None) -> str:
    """The head and the rows as a table of Markdown."""
    lines = [
        head(run) + ".",
        "",
        "| what | node | floor | ratio | spread | goal | |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    if missing:
        lines += ["", *(f"Not measured: {name}: {reason}." for name, reason in missing.items())]
    return "\n".join(lines)


def write_page(table: str, page: Path = PAGE) -> None:
    """Replace what is between the marks of the page. Raises ValueError without the marks."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no lines {BEGIN} and {END}: add them where the table goes")
    page.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")


def _cells(row: Row) -> tuple[str, ...]:
    """Title, node, floor, ratio, spread, goal, and whether it is met."""
    line = row.line
    title = f"{line.title}, {line.unit}" if line.unit else line.title
    if line.floor and line.floor != BARE:
        title += f" (floor: {line.floor})"
    floor = row.floor_figure
    return (
        title,
        _number(row.figure),
        "" if floor is None else _number(floor),
        f"{row.measure:.2f} x" if row.is_ratio else "",
        f"{100 * row.spread:.0f} %" if len(row.node) > 1 else "",
        _goal(row),
        "" if row.met is None else "met" if row.met else "missed",
    )


def _goal(row: Row) -> str:
    line = row.line
    if line.goal is None:
        return ""
    sign = "≥" if line.more else "≤"
    return f"{sign} {line.goal:g}" if line.goal_of_figure else f"{sign} {line.goal:.2f} x"


def _stored(row: Row, measure: float) -> str:
    return f"{measure:.2f} x" if row.is_ratio else _number(measure)


def _percent(change: Change) -> str:
    kind = "worse" if change.worse > 0 else "better"
    if change.verdict == "noisy":
        return f"noisy ({100 * abs(change.worse):.0f} % {kind})"
    return f"{100 * abs(change.worse):.0f} % {kind}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
