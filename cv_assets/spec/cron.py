"""Cron expressions of five fields, as Dagster's scheduler takes them: minute, hour, day of month, month, day of week.

Dagster reads more (six fields, `@daily`, `L`, `#`). These five read the same everywhere, and a spec is checked without
Dagster: it carries its own reader of cron, and no other library beside it has one.
"""

import re
from dataclasses import dataclass, field
from typing import Final

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST: Final = dict(enumerate((31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), start=1))
"""The days of each month, in a leap year."""

_TERM: Final = re.compile(r"(?:\*|(?P<first>[a-z0-9]+)(?:-(?P<last>[a-z0-9]+))?)(?:/(?P<every>[0-9]{1,2}))?")


@dataclass(frozen=True)
class _Field:
    name: str
    least: int
    greatest: int
    words: dict[str, int] = field(default_factory=dict)

    @property
    def known(self) -> str:
        named = f" or {next(iter(self.words))} to {list(self.words)[-1]}" if self.words else ""
        return f"{self.least} to {self.greatest}{named}"


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, start=1)}),
    _Field("day of week", 0, 7, {name: number for number, name in enumerate(_DAYS)}),
)


def cron_mistake(expression: str) -> str:
    """What is wrong with a cron expression, or nothing."""
    texts = expression.split()
    if len(texts) != len(_FIELDS):
        names = ", ".join(one.name for one in _FIELDS)
        return (
            f"expected the five fields of a cron expression ({names}), such as `0 5 1 * *`, got {len(texts)}"
        )
    values = [_values(text.lower(), one) for text, one in zip(texts, _FIELDS, strict=True)]
    for text, one, numbers in zip(texts, _FIELDS, values, strict=True):
        if not numbers:
            return f"expected {one.known}, `*` or a range, with `/n` or commas if you like, as {one.name}, got `{text}`"
    days, months = values[2], values[3]
    if all(min(days) > _LONGEST[month] for month in months):
        return f"expected a day that comes: none of its months has a day {min(days)}"
    return ""


def _values(text: str, one: _Field) -> set[int]:
    """The numbers that a field names; none when it cannot be read."""
    terms = [_numbers(term, one) for term in text.split(",")]
    return set().union(*terms) if all(terms) else set()


def _numbers(term: str, one: _Field) -> range:
    read = _TERM.fullmatch(term)
    if not read:
        return range(0)
    first = _number(read["first"], one) if read["first"] else one.least
    last = _number(read["last"], one) if read["last"] else first if read["first"] else one.greatest
    every = int(read["every"] or 1)
    # A step from one number alone has no end to go to, and one beyond the field is a slip.
    steps_well = not read["every"] or (first < last and 1 <= every <= one.greatest)
    return (
        range(first, last + 1, every)
        if one.least <= first <= last <= one.greatest and steps_well
        else range(0)
    )


def _number(text: str, one: _Field) -> int:
    """The number of one end; -1 for what is none."""
    return one.words.get(text, int(text) if text.isdecimal() and len(text) <= 2 else -1)
