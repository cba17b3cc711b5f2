"""How people are told figures, times and names, the same way by every step."""

import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

import numpy as np

_LEAST_PLAIN: Final = 1e-4
_FIRST_LONG: Final = 1e6


class Said(NamedTuple):
    """The answer to a check, the sentences that people read, and whether there was anything to judge by."""

    passed: bool
    why: str
    known: bool = True


def counted(number: int, one: str, many: str = "") -> str:
    """`1 frame`, `1,234 frames`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listed(names: Sequence[str], most: int = 8) -> str:
    """`a, b and c`; of more than `most` the first, and how many more."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def spanned(names: Sequence[str]) -> str:
    """`d7`, `d7 and d8`; of more the first and the last: `d7 to d19`."""
    return listed(names) if len(names) < 3 else f"{names[0]} to {names[-1]}"


def moment(when: datetime | None) -> str:
    """A time to the minute, in UTC."""
    return "an unknown time" if when is None else f"{when:%Y-%m-%d %H:%M} UTC"


def sentence(words: str) -> str:
    """The words as one sentence."""
    text = words.strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def visible(words: str) -> str:
    """The words on one line; a character that is not to be seen, such as one that turns text around, becomes U+FFFD."""
    one_line = " ".join(words.split())
    return "".join("\ufffd" if unicodedata.category(one)[0] == "C" else one for one in one_line)


def figure(value: float, digits: int = 3) -> str:
    """A figure to so many significant digits; with an exponent where it would be long."""
    if value and not _LEAST_PLAIN <= abs(value) < _FIRST_LONG:
        return f"{value:.{digits}g}"
    return np.format_float_positional(value, precision=digits, fractional=False, unique=False, trim="-")


def apart(one: float, other: float) -> tuple[str, str]:
    """Two figures with as many digits as it takes to see which is greater, three at least."""
    for digits in range(3, 10):
        told = figure(one, digits), figure(other, digits)
        if one == other or told[0] != told[1]:
            break
    return told
