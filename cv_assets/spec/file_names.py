"""What a file name means: whether the spec's pattern and time format can read it."""

import re
from datetime import UTC, datetime
from typing import Final

_KNOWN: Final = datetime(2026, 11, 23, 20, 47, 31, tzinfo=UTC)
_TOKENS: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[()]", re.DOTALL)
"""What matters for finding the end of a group: an escaped character, a character class, a parenthesis."""


def time_format_error(time_format: str) -> str:
    """Why `time_format` cannot read a date back, or nothing."""
    try:
        read = datetime.strptime(_KNOWN.strftime(time_format), time_format).replace(tzinfo=UTC)
    except ValueError as error:
        return f"expected a strptime format such as %Y%m%dT%H%M%S: {error}"
    if read.date() != _KNOWN.date():
        return "expected a strptime format with year, month and day, such as %Y%m%dT%H%M%S"
    return ""


def misreading(name: str, pattern: re.Pattern[str], time_format: str | None) -> str:
    """Why the file name cannot be read, or nothing."""
    match = pattern.fullmatch(name)
    if match is None:
        return "`file_name` does not match it"
    read = match.groupdict()
    if not (read.get("count") or "1").isdecimal():
        return f"expected a whole number as its `count`, which reads {read['count']!r}"
    if time_format and read["time"]:
        try:
            datetime.strptime(read["time"], time_format).replace(tzinfo=UTC)
        except ValueError:
            return f"`time_format` does not read its `time` {read['time']!r}"
    return ""


def group_reads(pattern: str, group: str, value: str) -> bool:
    """Whether the named group of `pattern`, taken by itself, matches `value`."""
    start, depth = pattern.index(f"(?P<{group}>") + len(f"(?P<{group}>"), 1
    for token in _TOKENS.finditer(pattern, start):
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth == 0:
            break
    try:
        return re.fullmatch(pattern[start : token.start()], value, re.compile(pattern).flags) is not None
    except re.error:
        # The group refers to another one: by itself it says nothing.
        return True
