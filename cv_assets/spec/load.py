"""The spec as a file, as values and as a table. All three carry the same digest."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import polars as pl
from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from cv_assets.spec.mistakes import Mistake, Place, mistakes
from cv_assets.spec.schema import ProjectSpec, Spec

_START: Final = "copy specs/template.yaml to start one"


class SpecError(ValueError):
    """A spec that cannot be used; the message says everything that is wrong with it, a line each."""


def load_spec(path: Path) -> Spec:
    """The spec in the YAML file at `path`.

    Raises SpecError, whose message names the file, line, key, value and what was expected of every mistake. Only a rule
    between two sections waits until each of them is free of mistakes.
    """
    source = _source(path)
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise SpecError(f"{source}: there is no such file; {_START}") from None
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{source}: expected UTF-8 text, got byte {error.object[error.start]:#04x}"
        ) from error
    except OSError as error:
        raise SpecError(f"{source}: cannot be read: {error.strerror}") from error
    return parse_spec(text, source)


def parse_spec(text: str, source: str) -> Spec:
    """The spec in the YAML `text`; `source` names it in messages. Raises SpecError as `load_spec` does."""
    try:
        values = _read_yaml(text)
    except SpecError as mistake:
        raise SpecError(f"{source}{mistake}") from None
    if values is None:
        raise SpecError(f"{source}: the file is empty; {_START}")
    if not isinstance(values, dict):
        raise SpecError(
            f"{source}:1: expected a block of `key: value` lines at the top, got {type(values).__name__}"
        )
    try:
        # Through JSON, where lists and numbers are strict: `"1"` is no number and `1` is no text.
        return Spec.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        # Composed only now: the nodes know their lines, and cost as much as the values.
        raise SpecError(_listed(mistakes(error), source, YAML(typ="safe", pure=True).compose(text))) from None
    except (TypeError, ValueError) as error:
        raise SpecError(f"{source}: expected plain settings: {error}") from error


def digest(spec: Spec) -> str:
    """A hash of every setting, given or default; comments and the order of keys do not count."""
    return hashlib.sha256(_json(spec.model_dump(mode="json")).encode()).hexdigest()[:16]


def to_table(spec: Spec) -> pl.DataFrame:
    """The rows of ProjectSpec: one per top-level section."""
    sections = spec.model_dump(mode="json")
    return pl.DataFrame(
        {
            "section": list(sections),
            "value": [_json(value) for value in sections.values()],
            "spec_digest": digest(spec),
        },
        schema=ProjectSpec.create_empty().schema,
    )


def from_table(rows: pl.DataFrame) -> Spec:
    """The spec that was published as `rows`. Raises SpecError when it cannot be read by today's settings."""
    sections = {section: json.loads(value) for section, value in rows.select("section", "value").iter_rows()}
    try:
        return Spec.model_validate_json(json.dumps(sections), strict=True)
    except ValidationError as error:
        raise SpecError(_listed(mistakes(error), "project_spec", None)) from None


def changed_sections(spec: Spec, rows: pl.DataFrame) -> list[str]:
    """The top-level sections in which `spec` differs from the published `rows`, in the order of the spec."""
    published = dict(rows.select("section", "value").iter_rows())
    given = dict(to_table(spec).select("section", "value").iter_rows())
    return [name for name in dict.fromkeys([*given, *published]) if given.get(name) != published.get(name)]


class _PlainConstructor(SafeConstructor):
    """Dates stay the text that was written: a guideline version may look like one."""


_PlainConstructor.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


@lru_cache(maxsize=8)  # every tick and every step asks, and a file takes 0.1 s
def _read_yaml(text: str) -> Any:
    """The values in `text`, for reading only. Raises SpecError, whose message goes on after the name of the file."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _PlainConstructor
    try:
        return yaml.load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1
        key = text.splitlines()[line - 1].strip()
        raise SpecError(f":{line}: a key is given twice: {key!r}") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise SpecError(f":{mark.line + 1}: not valid YAML: {_problem(error)}") from None
    except YAMLError as error:
        raise SpecError(f": not valid YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise SpecError(": not valid YAML: nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits
        raise SpecError(f": not valid YAML: a value cannot be read: {error}") from None


def _problem(error: MarkedYAMLError) -> str:
    if "\\t" in str(error.problem):
        return "a tab, where YAML wants spaces"
    return ", ".join(str(part) for part in (error.problem, error.context) if part)


def _listed(found: list[Mistake], source: str, root: Node | None) -> str:
    """The mistakes from top to bottom of the file."""
    numbered = [(_line(root, one.place) if root else None, f"{one.key}: {one.text}") for one in found]
    lines = [
        f"{source}{'' if number is None else f':{number}'}: {text}"
        for number, text in sorted(numbered, key=lambda line: line[0] or 0)
    ]
    return lines[0] if len(lines) == 1 else "\n  ".join([f"{source} has {len(lines)} mistakes:", *lines])


def _line(root: Node, place: Place) -> int:
    """The line where `place` stands, or the nearest thing above it that is there."""
    node, line = root, root.start_mark.line
    for step in place:
        if isinstance(node, MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == step), None)
        elif isinstance(node, SequenceNode) and isinstance(step, int):
            found = (node.value[step], node.value[step])
        else:
            found = None
        if found is None:
            break
        node, line = found[1], found[0].start_mark.line
    return int(line) + 1


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _source(path: Path) -> str:
    """The path as people type it, so that a terminal can open it at a line."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
