"""Read the metrics of a node, strictly.

values = read_metrics(text)
assert values['infernet_edge_jobs_total{container="echo",outcome="success"}'] == 1
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABELS = r'\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)+\}'
_SAMPLE = re.compile(rf"(?P<name>{_NAME})(?P<labels>{_LABELS})? (?P<value>\S+)")
_META = re.compile(rf"# (?P<what>TYPE|HELP|UNIT) (?P<name>{_NAME}) (?P<text>.+)")
_SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "info": ("_info",),
    "histogram": ("_bucket", "_sum", "_count"),
}


def read_metrics(text: str, *, openmetrics: bool = False) -> dict[str, float]:
    """The values by series, as `name{labels}`. Raises AssertionError for what is not valid.

    Checked: each family is in one piece and has a type and a help text, names have the suffix of
    their type, no series is there twice, buckets ascend, and the end.
    """
    assert text.endswith("\n")
    lines = text.splitlines()
    if openmetrics:
        assert lines.pop() == "# EOF"
    assert "# EOF" not in lines
    seen: set[str] = set()
    values: dict[str, float] = {}
    meta: dict[str, str] = {}
    family = ""
    for line in lines:
        if found := _META.fullmatch(line):
            if found["name"] != family:
                assert found["name"] not in seen, f"{line}: in two pieces"
                family, meta = found["name"], {}
                seen.add(family)
            assert found["what"] not in meta, line
            meta[found["what"]] = found["text"]
            continue
        sample = _SAMPLE.fullmatch(line)
        assert sample, f"not a sample: {line!r}"
        _check(sample["name"], family, meta, openmetrics=openmetrics)
        series = sample["name"] + (sample["labels"] or "")
        assert series not in values, f"twice: {series}"
        values[series] = float(sample["value"].replace("Inf", "inf"))
    _check_buckets(values)
    return values


def _check(name: str, family: str, meta: dict[str, str], *, openmetrics: bool) -> None:
    assert {"TYPE", "HELP"} <= meta.keys(), f"{name}: {meta}"
    if openmetrics:
        assert name.removeprefix(family) in _SUFFIXES[meta["TYPE"]], (name, meta)
        assert family.endswith(f"_{meta['UNIT']}" if "UNIT" in meta else ""), (family, meta)
        assert not family.endswith("_total"), family
    else:
        assert "UNIT" not in meta, family
        suffixes = _SUFFIXES["histogram"] if meta["TYPE"] == "histogram" else ("",)
        assert name.removeprefix(family) in suffixes, (name, meta)
        assert family.endswith("_total") is (meta["TYPE"] == "counter"), (family, meta)


def _check_buckets(values: dict[str, float]) -> None:
    buckets: dict[str, list[tuple[float, float]]] = {}
    for series, value in values.items():
        if found := re.search(r'_bucket\{(.*?),?le="([^"]+)"\}', series):
            of = f"{series[: found.start()]}|{{{found[1]}}}"
            buckets.setdefault(of, []).append((float(found[2].replace("Inf", "inf")), value))
    for of, found_buckets in buckets.items():
        assert found_buckets == sorted(found_buckets), of
        counts = [count for _, count in found_buckets]
        assert counts == sorted(counts), of
        assert found_buckets[-1][0] == math.inf, of
        name, labels = of.split("|")
        assert values[f"{name}_count{labels.replace('{}', '')}"] == counts[-1], of
        assert f"{name}_sum{labels.replace('{}', '')}" in values, of


def names(series: Iterable[str]) -> set[str]:
    """The names of series, without labels and prefix."""
    return {each.partition("{")[0].removeprefix("infernet_edge_") for each in series}
