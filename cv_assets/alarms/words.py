"""How this step says times, numbers and deliveries."""

from collections.abc import Sequence
from datetime import datetime


def moment(when: datetime | None) -> str:
    """A time to the minute, in UTC."""
    return "an unknown time" if when is None else f"{when:%Y-%m-%d %H:%M} UTC"


def counted(number: int, one: str, many: str = "") -> str:
    """`1 frame`, `1,234 frames`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def spanned(names: Sequence[str]) -> str:
    """`d7`, `d7 and d8`; of more the first and the last: `d7 to d19`."""
    if len(names) < 3:
        return " and ".join(names)
    return f"{names[0]} to {names[-1]}"


def sentence(words: str) -> str:
    """The words as one sentence."""
    text = words.strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}." if text else ""
