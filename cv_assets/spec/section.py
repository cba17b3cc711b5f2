"""What every part of a spec is made of: kinds of values, and how mistakes are told."""

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

_NAME: Final = r"^[a-z][a-z0-9_]*$"

_OWNER: Final = r"^(team:.+|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7})$"

_SHA256: Final = r"^[0-9a-f]{64}$"

PATTERNS: Final = {
    _NAME: "a name of small letters, digits and _ that starts with a letter",
    _OWNER: "`team:name` or a mail address",
    _SHA256: "the 64 hexadecimal digits of a SHA-256",
}
"""What the patterns ask for, in words."""

Name = Annotated[str, Field(pattern=_NAME)]

Text = Annotated[str, Field(min_length=1)]

Share = Annotated[float, Field(ge=0, le=1)]

Positive = Annotated[float, Field(gt=0)]

Count = Annotated[int, Field(ge=1)]

Side = Annotated[int, Field(ge=1, le=16_384)]

Owner = Annotated[str, Field(pattern=_OWNER)]

Step = Literal[
    "default",
    "spec",
    "frames",
    "labels",
    "requests",
    "splits",
    "training",
    "reference",
    "evaluation",
    "release",
    "inspection",
    "drift",
    "review",
    "alarms",
    "lookback",
    "upkeep",
]

Problem = tuple[tuple[str | int, ...], Any, str]
"""A mistake: where it is below the checked value, the value there, and what was expected."""


def refuse(problems: Iterable[Problem]) -> None:
    """Raise one ValidationError with all `problems`, if there are any."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError("spec", "{expected}", {"expected": expected}), loc=where, input=got
        )
        for where, got, expected in problems
    ]
    if details:
        raise ValidationError.from_exception_data("Spec", details)


class Section(BaseModel):
    """A part of the spec: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def repeated(names: list[str]) -> Iterable[Problem]:
    """Every name that stood before."""
    for number, name in enumerate(names):
        if name in names[:number]:
            yield (number, "name"), name, f"expected another name: [{names.index(name)}] has it already"
