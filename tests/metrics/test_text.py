"""The text formats, to the byte."""

from __future__ import annotations

import math

import pytest

from infernet_edge.metrics.measurements import Histogram
from infernet_edge.metrics.text import (
    Family,
    Sample,
    histogram_samples,
    labels_text,
    render,
    wants_openmetrics,
)


def families() -> list[Family]:
    histogram = Histogram((0.5, 1, 300.0))
    for value in (0.25, 1.0, 500.0):
        histogram.observe(value)
    return [
        Family("a_seconds", "counter", "Used", [Sample("_total", "", 1.5)], "seconds"),
        Family("b", "gauge", "Both", [Sample("", '{x="1"}', 2), Sample("", '{x="2"}', 3)]),
        Family("c", "gauge", "Unknown", []),
        Family("d_seconds", "histogram", "Long", list(histogram_samples(histogram, {"x": "y"}))),
        Family("e", "info", "Version", [Sample("_info", '{version="1"}', 1)]),
    ]


BUCKETS = """d_seconds_bucket{x="y",le="0.5"} 1
d_seconds_bucket{x="y",le="1.0"} 2
d_seconds_bucket{x="y",le="300.0"} 2
d_seconds_bucket{x="y",le="+Inf"} 3
d_seconds_sum{x="y"} 501.25
d_seconds_count{x="y"} 3
"""


def test_openmetrics() -> None:
    assert (
        render(families(), openmetrics=True).decode()
        == f"""# TYPE a_seconds counter
# UNIT a_seconds seconds
# HELP a_seconds Used
a_seconds_total 1.5
# TYPE b gauge
# HELP b Both
b{{x="1"}} 2
b{{x="2"}} 3
# TYPE d_seconds histogram
# HELP d_seconds Long
{BUCKETS}# TYPE e info
# HELP e Version
e_info{{version="1"}} 1
# EOF
"""
    )


def test_the_classic_format() -> None:
    """Its families have the names of the samples; it has no units, no end and no info."""
    assert (
        render(families(), openmetrics=False).decode()
        == f"""# TYPE a_seconds_total counter
# HELP a_seconds_total Used
a_seconds_total 1.5
# TYPE b gauge
# HELP b Both
b{{x="1"}} 2
b{{x="2"}} 3
# TYPE d_seconds histogram
# HELP d_seconds Long
{BUCKETS}# TYPE e_info gauge
# HELP e_info Version
e_info{{version="1"}} 1
"""
    )


def test_labels_are_escaped() -> None:
    assert labels_text({}) == ""
    assert labels_text({"a": 'x"y\\z\n', "b": "ü{,}"}) == '{a="x\\"y\\\\z\\n",b="ü{,}"}'


@pytest.mark.parametrize(
    ("openmetrics", "expected"), [(True, r"a \"b\" \\ \n"), (False, r'a "b" \\ \n')]
)
def test_help_is_escaped(openmetrics: bool, expected: str) -> None:
    """Quotes only in OpenMetrics."""
    family = Family("x", "gauge", 'a "b" \\ \n', [Sample("", "", 1)])
    lines = render([family], openmetrics=openmetrics).decode().splitlines()
    assert lines[1] == f"# HELP x {expected}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12345678901234567890123, "12345678901234567890123"),
        (0, "0"),
        (0.1, "0.1"),
        (1e300, "1e+300"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    family = Family("x", "gauge", "X", [Sample("", "", value)])
    assert render([family], openmetrics=False).decode().splitlines()[-1] == f"x {text}"


PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (PROMETHEUS_2, True),
        (PROMETHEUS_3, True),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; Version=1.0.0", True),
        ("text/plain;q=0.5, application/openmetrics-text;q=0.5", True),
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("text/plain;version=0.0.4", False),
        ("text/plain, application/openmetrics-text;q=0.9", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=x", False),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily", False),
        (",;=;,q=1;", False),
        (f"{'x,' * 10_000}application/openmetrics-text", False),
    ],
)
def test_what_is_accepted(accept: str, expected: bool) -> None:
    assert wants_openmetrics(accept) is expected
