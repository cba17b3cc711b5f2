"""What every label format comes down to: entries, one object each, that form statements.

Nothing is refused here. A value that cannot be read becomes null and is named in `unread`; the row rules judge it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import polars as pl

from cv_assets.labels.schema import Annotations

NOTHING: Final = "(nothing)"
"""The class of an entry whose annotator looked and saw nothing. No class of a spec can be named so."""

BOX: Final = ("x_min", "y_min", "x_max", "y_max")
INT64: Final = range(-(2**63), 2**63)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    """One line of an export: one object, or nothing, that an annotator stated about an image.

    `label` is the class as the export names it, NOTHING, or None where none is given.
    """

    tool: str | None
    project: str | None
    image: str | None
    annotator: str | None
    label: str | None
    box: tuple[float, float, float, float] | None
    annotated_at: datetime | None
    guideline: str | None
    annotation: str | None
    revision: int | None
    seconds: float | None
    uncertain: bool | None
    retracted: bool | None
    benchmark: str | None
    verified_by: str | None
    unread: tuple[str, ...]


class Fields:
    """Reads the values of one entry by name, and remembers those that it could not read."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.unread: list[str] = []

    def text(self, name: str) -> str | None:
        """The value as text; None where it is absent or blank."""
        value = self._values.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, str | int | float) and not isinstance(value, bool) and _is_unicode(str(value)):
            return str(value).strip() or None
        self._cannot_read(name, value)
        return None

    def number(self, name: str) -> float | None:
        """A finite number."""
        value = self._values.get(name)
        if value is None or value == "":
            return None
        number = as_number(value)
        if number is None:
            self._cannot_read(name, value)
        return number

    def whole(self, name: str) -> int | None:
        """A whole number of 64 bits."""
        value = self._values.get(name)
        if value is None or value == "":
            return None
        number = as_whole(value)
        if number is None:
            self._cannot_read(name, value)
        return number

    def flag(self, name: str) -> bool | None:
        """True or false, also as 1 and 0, yes and no; False where it is absent."""
        value = self._values.get(name)
        match str(value).strip().lower() if isinstance(value, str | bool | int) else value:
            case None | "" | "false" | "0" | "no":
                return False
            case "true" | "1" | "yes":
                return True
            case _:
                self._cannot_read(name, value)
                return None

    def time(self, name: str) -> datetime | None:
        """A moment in UTC from ISO 8601; without an offset it is UTC."""
        value = self._values.get(name)
        if value is None or value == "":
            return None
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
            return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
        except (ValueError, OverflowError):
            self._cannot_read(name, value)
            return None

    def corners(self) -> tuple[float, float, float, float] | None:
        """The box of the columns `x_min, y_min, x_max, y_max`; None where all four are absent."""
        found = [number for name in BOX if (number := self.number(name)) is not None]
        if len(found) == len(BOX):
            return found[0], found[1], found[2], found[3]
        if found:
            self._cannot_read("box", [self._values.get(name) for name in BOX])
        return None

    def bbox(self) -> tuple[float, float, float, float] | None:
        """COCO's box (x, y, width, height) as corners; None where it is absent or empty."""
        value = self._values.get("bbox")
        if value is None or value == []:
            return None
        numbers = [as_number(one) for one in value] if isinstance(value, list) else []
        x, y, width, height = (
            (number or 0.0 for number in numbers) if len(numbers) == len(BOX) else (math.nan,) * 4
        )
        box = (x, y, x + width, y + height)
        if None in numbers or not all(map(math.isfinite, box)):
            self._cannot_read("bbox", value)
            return None
        return box

    def _cannot_read(self, name: str, value: object) -> None:
        self.unread.append(f"{name}={ascii(value)[:80]}")


def as_number(value: object) -> float | None:
    """`value` as a finite float, from a number or its text; None when it is neither."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def as_whole(value: object) -> int | None:
    """`value` as a whole number of 64 bits, from a number or its text (`3.0` too); None when it is neither."""
    number = as_number(value)
    if number is None or not number.is_integer():
        return None
    try:
        # A float keeps 53 bits only: a long number is read as the integer it is.
        exact = int(value)  # type: ignore[call-overload]
    except ValueError:  # `3.0`, `1e3`
        exact = int(number)
    return exact if exact in INT64 else None


def statements(
    entries: Iterable[Entry], *, export: str, evidence: str, received_at: datetime
) -> pl.DataFrame:
    """The entries as rows of `Annotations`: what one annotator says of one image is one statement.

    Objects of one image, annotator, annotation and revision belong together. A retracted object is left out; the
    statement is retracted when all its entries are. It is uncertain when any entry is, and made at its newest time.
    """
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for place, entry in enumerate(entries):
        # Entries without an image or annotator may be of different people: they stay apart.
        apart = None if entry.image and entry.annotator else place
        key = (
            entry.tool,
            entry.project,
            entry.image,
            entry.annotator,
            entry.annotation,
            entry.revision,
            apart,
        )
        groups.setdefault((*key, entry.benchmark), []).append(entry)
    about = {"export": export, "evidence": evidence, "received_at": received_at}
    rows = [{**_statement(group), **about, "row": row} for row, group in enumerate(groups.values(), start=1)]
    return pl.DataFrame(rows, schema=Annotations.create_empty().schema)


def _statement(group: Sequence[Entry]) -> dict[str, Any]:
    first = group[0]
    standing = [entry for entry in group if not entry.retracted]
    annotated_at = max((entry.annotated_at for entry in group if entry.annotated_at), default=None)
    revision = _microseconds(annotated_at) if first.revision is None else first.revision
    annotation = first.annotation or (
        f"{first.annotator}@{first.image}" if first.annotator and first.image else None
    )
    return {
        "annotation_id": annotation_id(first.tool, first.project, annotation, revision),
        "tool": first.tool,
        "project": first.project,
        "annotation": annotation,
        "revision": revision,
        "image": first.image,
        "objects": sorted((_object(entry) for entry in standing if entry.label != NOTHING), key=_order),
        "uncertain": _any(entry.uncertain for entry in group),
        "retracted": not standing,
        "annotator": first.annotator,
        "annotated_at": annotated_at,
        "seconds": max((entry.seconds for entry in group if entry.seconds is not None), default=None),
        "guideline": next((entry.guideline for entry in group if entry.guideline), None),
        "benchmark": first.benchmark,
        "verified_by": next((entry.verified_by for entry in group if entry.verified_by), None),
        "unread": "; ".join([*(text for entry in group for text in entry.unread), *_contradictions(standing)])
        or None,
    }


def annotation_id(tool: str | None, project: str | None, annotation: str | None, revision: int | None) -> str:
    """`tool/project/annotation/revision`; `?` stands for what is missing, a slash within a part is written `%2F`."""
    parts = (tool, project, annotation, None if revision is None else str(revision))
    return "/".join("?" if part is None else part.replace("%", "%25").replace("/", "%2F") for part in parts)


def _contradictions(standing: Sequence[Entry]) -> list[str]:
    nothing = [entry.label == NOTHING for entry in standing]
    boxed = any(entry.box for entry in standing if entry.label == NOTHING)
    return ["(nothing) seen beside an object"] if boxed or (any(nothing) and not all(nothing)) else []


def _object(entry: Entry) -> dict[str, str | float | None]:
    box = entry.box or (None, None, None, None)
    return {"class": entry.label, **dict(zip(BOX, box, strict=True))}


def _order(one: Mapping[str, str | float | None]) -> tuple[tuple[bool, str | float], ...]:
    # A tool may list the same objects in another order next time: it is the same statement.
    return tuple(
        (value is None, value or 0.0) if name in BOX else (value is None, value or "")
        for name, value in one.items()
    )


def _any(flags: Iterable[bool | None]) -> bool | None:
    given = list(flags)
    return True if True in given else None if None in given else False


def _microseconds(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - EPOCH) // timedelta(microseconds=1)


def _is_unicode(text: str) -> bool:
    # JSON can smuggle in half of a surrogate pair, which no table can hold.
    return not any("\ud800" <= character <= "\udfff" for character in text)
