"""The text formats of Prometheus: OpenMetrics 1.0 and the classic one, 0.0.4.

Sources: openmetrics.io (version 1.0.0 of the specification) and prometheus.io, "Exposition
formats". Both name a series in the same way, so a server that changes the format keeps its data.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple

from infernet_edge.metrics.measurements import Histogram

Kind = Literal["counter", "gauge", "histogram", "info"]

OPENMETRICS_TYPE: Final = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
CLASSIC_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
_MAX_ACCEPT = 1000  # characters of an Accept header that are read
_VERSIONS: Final = ("", "1.0.0", "0.0.1")  # of OpenMetrics; the last is what 1.0.0 was before

_LABEL_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_HELP_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})


class Sample(NamedTuple):
    """One value; `suffix` follows the family's name, `labels` are in braces, or ""."""

    suffix: str
    labels: str
    value: float


class Family(NamedTuple):
    """A metric with all its samples. `name` has no suffix, such as _total, but ends in the unit."""

    name: str
    kind: Kind
    help: str
    samples: list[Sample]
    unit: str = ""


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels in braces, "" for none."""
    parts = [f'{name}="{value.translate(_LABEL_ESCAPES)}"' for name, value in labels.items()]
    return f"{{{','.join(parts)}}}" if parts else ""


def histogram_samples(histogram: Histogram, labels: Mapping[str, str]) -> Iterator[Sample]:
    """The cumulative buckets, the sum and the count of a histogram."""
    total = histogram.sum
    counts = list(itertools.accumulate(histogram.counts))
    for bound, count in zip((*histogram.bounds, math.inf), counts, strict=True):
        yield Sample("_bucket", labels_text({**labels, "le": _number(float(bound))}), count)
    yield Sample("_sum", labels_text(labels), total)
    yield Sample("_count", labels_text(labels), counts[-1])


def render(families: Iterable[Family], *, openmetrics: bool) -> bytes:
    """The text of families, without those that have no sample."""
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        name, kind = family.name, family.kind
        if not openmetrics:  # there, the name is that of the samples, and no kind is "info"
            name += {"counter": "_total", "info": "_info"}.get(kind, "")
            kind = "gauge" if kind == "info" else kind
        lines.append(f"# TYPE {name} {kind}")
        if openmetrics and family.unit:
            lines.append(f"# UNIT {name} {family.unit}")
        help_text = family.help.translate(_LABEL_ESCAPES if openmetrics else _HELP_ESCAPES)
        lines.append(f"# HELP {name} {help_text}")
        lines += [
            f"{family.name}{suffix}{labels} {_number(value)}"
            for suffix, labels, value in family.samples
        ]
    if openmetrics:
        lines.append("# EOF")
    return "".join(f"{line}\n" for line in lines).encode()


def _number(value: float) -> str:
    """A number as both formats have it; whole ones with all their digits."""
    if isinstance(value, int) or math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def wants_openmetrics(accept: str) -> bool:
    """Whether an Accept header (RFC 9110, 12.5.1) prefers OpenMetrics to the classic format.

    It has to be named: programs that accept everything understand the classic format.
    """
    openmetrics, classic = 0.0, 0.0
    for entry in accept[:_MAX_ACCEPT].lower().split(","):
        kind, *parameters = (part.strip() for part in entry.split(";"))
        given = dict(part.split("=", 1) for part in parameters if "=" in part)
        quality = _quality(given.get("q", "1"))
        if kind == "application/openmetrics-text" and given.get("version", "") in _VERSIONS:
            openmetrics = max(openmetrics, quality)
        elif kind == "text/plain":
            classic = max(classic, quality)
    return openmetrics > 0 and openmetrics >= classic


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0
