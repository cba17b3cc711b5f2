"""Mistakes in a spec, in words: the key, the value that is there and what was expected."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from cv_assets.spec.schema import Spec
from cv_assets.spec.section import PATTERNS, Section

Place = tuple[str | int, ...]
"""The keys and list positions that lead from the top of the file to a setting."""

_EXPECTED: Final = {
    "bool_type": "true or false",
    "dict_type": "a block of `key: value` lines",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "a number above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "int_type": "a whole number",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "at most {le:g}",
    "model_type": "a block of `key: value` lines",
    "string_too_short": "some text",
    "string_type": "text",
    "too_long": "[width, height]",
    "too_short": "a list of at least {min_length}",
    "tuple_type": "a list, such as [a, b]",
}
"""What pydantic's errors ask for, by their type; the fixed pairs of a spec are sizes."""

_SHOWN_CHARACTERS: Final = 60


@dataclass(frozen=True)
class Mistake:
    """One mistake; `meant` is the key that a misspelt one stands for, and `missing` says that the place is empty."""

    place: Place
    text: str
    meant: Place = ()
    missing: bool = False

    @property
    def key(self) -> str:
        """The place as people write it: `training.models[1].recipe.C`."""
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.place)
        return "".join(steps).removeprefix(".")


def mistakes(error: ValidationError) -> list[Mistake]:
    """Everything that `error` found, each thing once."""
    found = dict.fromkeys(one for detail in error.errors() for one in _explain(detail))
    # A misspelt key is one mistake, not also a missing one.
    meant = {one.meant for one in found if one.meant}
    return [one for one in found if not (one.missing and one.place in meant)]


def did_you_mean(word: str, known: list[str]) -> str:
    """A question that names the nearest known word, or nothing when none is near."""
    near = get_close_matches(word, known, n=1)
    return f"did you mean `{near[0]}`?" if near else ""


def _explain(detail: ErrorDetails) -> Iterator[Mistake]:
    place, _ = _resolve(detail["loc"])
    got, context = detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "missing" | "extra_forbidden" | "union_tag_not_found":
            yield from _key_mistakes(detail)
        case "literal_error" if detail["loc"][-1] == "[key]":
            yield _unknown_key(place, _choices(context["expected"]))
        case "union_tag_invalid":
            yield Mistake((*place, "kind"), _not_one_of(context["tag"], _choices(context["expected_tags"])))
        case "too_short" if len(got) >= context["min_length"]:
            # Long enough, but for entries that have a mistake of their own.
            return
        case _:
            yield Mistake(place, _wrong_value(detail))


def _key_mistakes(detail: ErrorDetails) -> Iterator[Mistake]:
    """Keys that are there and unknown, or known and not there."""
    place, sections = _resolve(detail["loc"])
    _, above = _resolve(detail["loc"][:-1])
    match detail["type"]:
        case "extra_forbidden":
            yield _unknown_key(place, _keys(above))
        case "union_tag_not_found":
            known = _keys(sections)
            yield from (_unknown_key((*place, key), known) for key in detail["input"] if key not in known)
            yield Mistake(
                (*place, "kind"), f"is missing. One of: {', '.join(_kinds(sections))}.", missing=True
            )
        case _ if isinstance(place[-1], int):
            yield Mistake(place[:-1], f"got {_shown(detail['input'])}, expected [width, height]")
        case _:
            meaning = _meaning(above[0].model_fields[str(place[-1])])
            yield Mistake(place, f"is missing. {meaning}".rstrip(), missing=True)


def _wrong_value(detail: ErrorDetails) -> str:
    got, context = detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "literal_error":
            return _not_one_of(got, _choices(context["expected"]))
        case "string_pattern_mismatch":
            return f"got {_shown(got)}, expected {PATTERNS[context['pattern']]}"
        case "string_type" if isinstance(got, int | float):
            return f"got {_shown(got)}, expected text: put it in quotes"
        case "value_error":
            return _with_value(got, str(context["error"]))
        case "spec":
            return _with_value(got, detail["msg"])
        case known if known in _EXPECTED:
            return f"got {_shown(got)}, expected {_EXPECTED[known].format(**context)}"
        case _:
            return f"got {_shown(got)}: {detail['msg']}"


def _resolve(loc: tuple[int | str, ...]) -> tuple[Place, list[type[Section]]]:
    """The place in the file that pydantic's `loc` speaks of, and the sections that may stand there."""
    place: list[str | int] = []
    sections: list[type[Section]] = [Spec]
    for step in loc:
        if step == "[key]":
            continue
        if len(sections) > 1 and isinstance(step, str):
            # Between alternatives pydantic names the chosen one, which is no key of the file.
            sections = [section for section in sections if step in _kinds([section])]
            continue
        place.append(step)
        if isinstance(step, str):
            field = sections[0].model_fields.get(step) if sections else None
            sections = list(sections_of(field.annotation)) if field else []
    return tuple(place), sections


def sections_of(annotation: Any) -> Iterator[type[Section]]:
    """The sections that a type holds, through lists, options and alternatives."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    else:
        for argument in get_args(annotation):
            yield from sections_of(argument)


def _kinds(sections: list[type[Section]]) -> list[str]:
    fields = [section.model_fields["kind"] for section in sections if "kind" in section.model_fields]
    return [kind for field in fields for kind in get_args(field.annotation)]


def _keys(sections: list[type[Section]]) -> list[str]:
    return list(dict.fromkeys(name for section in sections for name in section.model_fields))


def _unknown_key(place: Place, known: list[str]) -> Mistake:
    key = str(place[-1])
    near = get_close_matches(key, known, n=1)
    if near:
        return Mistake(
            place, f"there is no such key, did you mean `{near[0]}`?", meant=(*place[:-1], near[0])
        )
    if homes := [home for name, home in _homes(Spec) if name == key]:
        return Mistake(place, f"there is no such key here, it belongs to {' or '.join(homes)}")
    return Mistake(place, f"there is no such key, these are known here: {', '.join(known)}")


def _homes(section: type[Section], above: str = "") -> Iterator[tuple[str, str]]:
    """Every key of the spec, and the section it belongs to."""
    kind = "".join(f" of `kind: {kind}`" for kind in _kinds([section]))
    for name, field in section.model_fields.items():
        yield name, f"`{above}`{kind}" if above else "the top of the file"
        for inner in sections_of(field.annotation):
            yield from _homes(inner, f"{above}.{name}".removeprefix("."))


def _meaning(field: FieldInfo) -> str:
    """What a setting is for, as its model describes it."""
    if field.description:
        return field.description
    if inner := next(sections_of(field.annotation), None):
        return (inner.__doc__ or "").split("\n")[0]
    choices = [one for one in get_args(field.annotation) if isinstance(one, str)]
    return f"One of: {', '.join(choices)}." if choices else ""


def _choices(expected: str) -> list[str]:
    return re.findall(r"'([^']*)'", expected)


def _not_one_of(got: object, known: list[str]) -> str:
    suggestion = did_you_mean(got, known) if isinstance(got, str) else ""
    return f"got {_shown(got)}, expected one of {', '.join(known)}{suggestion and f'; {suggestion}'}"


def _with_value(got: object, text: str) -> str:
    # What is wrong with a block is said by the text alone.
    return text if isinstance(got, Mapping | list | tuple) else f"got {_shown(got)}, {text}"


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a block of `key: value` lines"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
