"""Moments and durations as people write them on a command line: `2027-01-31`, `90d`."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import click

_DURATION = re.compile(r"([1-9]\d{0,4})([hdw])")
DAY = timedelta(days=1)
_UNITS = {"h": timedelta(hours=1), "d": DAY, "w": timedelta(weeks=1)}


def duration(option: str, text: str) -> timedelta:
    """`12h`, `7d` or `2w`.

    Raises: click.UsageError that names the option for anything else.
    """
    found = _DURATION.fullmatch(text)
    if not found:
        raise click.UsageError(
            f"{option} is {text!r}, expected hours, days or weeks such as 12h, 7d or 2w; correct it."
        )
    return int(found.group(1)) * _UNITS[found.group(2)]


def day(option: str, text: str) -> datetime:
    """`2027-01-31` as the first moment of that day, UTC.

    Raises: click.UsageError that names the option for anything else.
    """
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    except ValueError as error:
        raise click.UsageError(
            f"{option} is {text!r}, expected a day such as 2027-01-31, or a duration such as 7d; correct it."
        ) from error


def ends(option: str, text: str, now: datetime) -> datetime:
    """When something ends that is good for a duration from now, or up to and including a day.

    Raises: click.UsageError that names the option when it cannot be read, or is over.
    """
    end = now + duration(option, text) if _DURATION.fullmatch(text) else day(option, text) + DAY
    if end <= now:
        raise click.UsageError(f"{option} is {text!r}, which is over; name a later day.")
    return end


def since(option: str, text: str, now: datetime) -> datetime:
    """When something begins: a duration ago, or with a day.

    Raises: click.UsageError that names the option when it cannot be read.
    """
    return now - duration(option, text) if _DURATION.fullmatch(text) else day(option, text)


def month(option: str, text: str, now: datetime) -> tuple[datetime, datetime]:
    """`2026-11` as its first moment and its last, UTC, or now where it is not over.

    Raises: click.UsageError that names the option when it cannot be read or has not begun.
    """
    try:
        begin = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC)
    except ValueError as error:
        raise click.UsageError(f"{option} is {text!r}, expected a month such as 2026-11; correct it.") from error
    if begin > now:
        raise click.UsageError(f"{option} is {text!r}, which has not begun; name an earlier month.")
    end = (begin + timedelta(days=32)).replace(day=1)
    return begin, min(end, now)
