"""How this step says times, tallies and settings."""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import datetime


def moment(when: datetime | None) -> str:
    """A time to the second, in UTC."""
    return "at an unknown time" if when is None else f"{when:%Y-%m-%d %H:%M:%S} UTC"


def day(when: datetime | None) -> str:
    """The day of a time, in UTC."""
    return "an unknown day" if when is None else f"{when:%Y-%m-%d}"


def tally(values: Iterable[str]) -> str:
    """How often each value occurs, the most frequent first: `sound 40, defective 8`."""
    counts = sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{value} {count:,}" for value, count in counts)


def settings(value: str) -> str:
    """A JSON object as `key value, key value`; nested ones in brackets."""
    return _told(json.loads(value))


def _told(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{key} ({_told(one)})" if isinstance(one, dict) else f"{key} {_told(one)}"
            for key, one in value.items()
        )
    if isinstance(value, list):
        return " ".join(_told(one) for one in value) or "none"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
