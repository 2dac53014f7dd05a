"""Dates and periods as users write them: 2027-01-01, 2027-01-01T12:00:00Z, 30d."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

DATE_FORMS: Final = "a date such as 2027-01-01 or 2027-01-01T12:00:00Z (UTC)"
PERIOD_FORMS: Final = "a period such as 12h, 30d or 8w"

_PERIOD: Final = re.compile(r"([0-9]{1,5})([hdw])")
_HOURS: Final = {"h": 1, "d": 24, "w": 7 * 24}
_DATE: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?.{0,6})?"
)


def parse_date(text: str) -> int | None:
    """Milliseconds since 1970 of a date of ISO 8601, or of a date with a time; None for others.

    A date is its beginning. A time without an offset is one of UTC.
    """
    text = text.strip()
    if not _DATE.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0, int(moment.timestamp())) * 1000
    except (ValueError, OverflowError):
        return None


def parse_period(text: str) -> int | None:
    """Milliseconds of a number of hours, days or weeks; None for other texts, and for none."""
    found = _PERIOD.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        return None
    return int(found[1]) * _HOURS[found[2]] * 3600 * 1000
