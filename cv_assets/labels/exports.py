"""Readers of label exports. A file that is none raises ExportError; a bad row stays a row (docs/label_exports.md)."""

import io
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import PurePath
from typing import Any, Final

import polars as pl

from cv_assets.labels import label_studio
from cv_assets.labels.entries import BOX, NOTHING, Entry, Fields, statements

SUFFIXES: Final = (".json", ".csv", ".parquet")
"""File endings of label exports."""

REQUIRED: Final = ("tool", "project", "image", "annotator", "class", "annotated_at", "guideline")
OPTIONAL: Final = (
    "annotation",
    "revision",
    *BOX,
    "seconds",
    "uncertain",
    "retracted",
    "benchmark",
    "verified_by",
)
"""Columns of a CSV or Parquet export."""


class ExportError(ValueError):
    """A file that is no label export: where it fails and what was expected there."""

    def __init__(self, file: str, where: str, expected: str) -> None:
        super().__init__(f"{file}: {where}: expected {expected}")


def read_export(
    content: bytes, *, file: str, export: str, evidence: str, received_at: datetime
) -> pl.DataFrame:
    """The statements of an export, as rows of `Annotations`; the format follows from the file's ending.

    A JSON list is Label Studio's own export, a JSON object is COCO. Raises ExportError.
    """
    match PurePath(file).suffix.lower():
        case ".json":
            document = _parsed_json(file, content)
            entries = (
                _label_studio_entries(file, document)
                if isinstance(document, list)
                else _coco_entries(file, _mapping(file, "the document", document))
            )
        case ".csv":
            entries = _row_entries(_checked_columns(file, _parsed_csv(file, content)).iter_rows(named=True))
        case ".parquet":
            entries = _row_entries(
                _checked_columns(file, _parsed_parquet(file, content)).iter_rows(named=True)
            )
        case unknown:
            raise ExportError(file, f"the ending {unknown!r}", " or ".join(SUFFIXES))
    return statements(entries, export=export, evidence=evidence, received_at=received_at)


def _parsed_json(file: str, content: bytes) -> object:
    if not content.strip():
        raise ExportError(file, "the file is empty", "COCO JSON")
    try:
        return json.loads(content, object_pairs_hook=_each_key_once)
    except (ValueError, RecursionError) as error:
        raise ExportError(file, f"no JSON ({error})", "COCO JSON") from error


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {ascii(twice)[:80]} is there twice, and one of its values would be lost")
    return values


def _label_studio_entries(file: str, tasks: Sequence[object]) -> Iterator[Entry]:
    said = []
    for index, one in enumerate(tasks):
        task = _mapping(file, f"`[{index}]`", one)
        if not isinstance(found := task.get("annotations"), list):
            where = f"`[{index}].annotations` is {_kind(found)}"
            raise ExportError(file, where, "a list, as in Label Studio's export format JSON (not JSON-MIN)")
        said += [(task, annotation) for annotation in _records(file, task, "annotations")]
    if not said:
        raise ExportError(file, "no task has an annotation", "at least one annotation")
    return _row_entries(row for task, annotation in said for row in label_studio.rows(task, annotation))


def _coco_entries(file: str, document: Mapping[str, Any]) -> Iterator[Entry]:
    info = _mapping(file, "`info`", document.get("info"))
    for key in ("tool", "project"):
        if not info.get(key):
            raise ExportError(file, f"`info.{key}` is missing", f"the labelling {key}'s name")
    images = _by_id(file, document, "images")
    categories = _by_id(file, document, "categories")
    annotations = _records(file, document, "annotations")
    if not annotations:
        raise ExportError(file, "`annotations` is empty", "at least one annotation")
    ids = Counter(_hashable(annotation.get("id")) for annotation in annotations)
    twice = {number for number, count in ids.items() if number is not None and count > 1}
    return (_coco_entry(info, images, categories, annotation, twice) for annotation in annotations)


def _coco_entry(
    info: Mapping[str, Any],
    images: Mapping[Any, Mapping[str, Any]],
    categories: Mapping[Any, Mapping[str, Any]],
    annotation: Mapping[str, Any],
    twice: Collection[object],
) -> Entry:
    attributes = annotation.get("attributes")
    image = images.get(_hashable(annotation.get("image_id")))
    fields = Fields(
        {
            **{key: info.get(key) for key in ("tool", "project", "guideline", "benchmark", "verified_by")},
            **(attributes if isinstance(attributes, dict) else {}),
            **annotation,
            "image": image and image.get("file_name"),
            "class": _coco_class(categories, annotation),
        }
    )
    if image is None:
        fields.unread.append(f"image_id={ascii(annotation.get('image_id'))[:80]}")
    if (number := _hashable(annotation.get("id"))) in twice:
        # One of them may be a copy, or stand for another object: which is not guessed.
        fields.unread.append(f"id={ascii(number)[:80]} is there twice")
    return _entry(fields, fields.bbox())


def _coco_class(categories: Mapping[Any, Mapping[str, Any]], annotation: Mapping[str, Any]) -> object:
    # An explicit null is the statement "nothing seen"; a key that is merely absent is a mistake.
    if "category_id" not in annotation:
        return None
    category = annotation["category_id"]
    if category is None:
        return NOTHING
    named = categories.get(_hashable(category))
    return named.get("name") if named else f"category {ascii(category)[:40]}"


def _parsed_csv(file: str, content: bytes) -> pl.DataFrame:
    if not content.strip():
        raise ExportError(file, "the file is empty", f"CSV with a header of {', '.join(REQUIRED)}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExportError(
            file, f"no UTF-8 text ({error.reason} at byte {error.start})", "CSV in UTF-8"
        ) from None
    try:
        return pl.read_csv(io.StringIO(text), infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise ExportError(file, f"no CSV ({_first_line(error)})", "CSV with one header line") from error


def _parsed_parquet(file: str, content: bytes) -> pl.DataFrame:
    if not content:
        raise ExportError(file, "the file is empty", "Parquet")
    try:
        return pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ExportError(file, f"no Parquet ({_first_line(error)})", "Parquet") from error
    except pl.exceptions.PanicException as error:  # the library's own assertions; no Exception
        raise ExportError(file, "no Parquet (it is damaged)", "Parquet") from error


def _checked_columns(file: str, table: pl.DataFrame) -> pl.DataFrame:
    if missing := [name for name in REQUIRED if name not in table.columns]:
        raise ExportError(file, f"no column {', '.join(missing)}", f"the columns {', '.join(REQUIRED)}")
    if unknown := [name for name in table.columns if name not in (*REQUIRED, *OPTIONAL)]:
        # An ignored column may be a misspelt one, and its values would be lost without a word.
        raise ExportError(
            file, f"unknown column {', '.join(unknown)}", f"only {', '.join(REQUIRED + OPTIONAL)}"
        )
    if table.is_empty():
        raise ExportError(file, "no rows", "at least one row below the header")
    return table


def _row_entries(rows: Iterable[Mapping[str, Any]]) -> Iterator[Entry]:
    for row in rows:
        fields = Fields(row)
        yield _entry(fields, fields.corners())


def _entry(fields: Fields, box: tuple[float, float, float, float] | None) -> Entry:
    entry = Entry(
        tool=fields.text("tool"),
        project=fields.text("project"),
        image=fields.text("image"),
        annotator=fields.text("annotator"),
        label=fields.text("class"),
        box=box,
        annotated_at=fields.time("annotated_at"),
        guideline=fields.text("guideline"),
        annotation=fields.text("annotation"),
        revision=fields.whole("revision"),
        seconds=fields.number("seconds"),
        uncertain=fields.flag("uncertain"),
        retracted=fields.flag("retracted"),
        benchmark=fields.text("benchmark"),
        verified_by=fields.text("verified_by"),
        unread=(),
    )
    return replace(entry, unread=tuple(fields.unread))


def _by_id(file: str, document: Mapping[str, Any], key: str) -> dict[Any, Mapping[str, Any]]:
    found: dict[Any, Mapping[str, Any]] = {}
    for index, record in enumerate(_records(file, document, key)):
        number = record.get("id")
        if isinstance(number, bool) or not isinstance(number, int | str):
            raise ExportError(file, f"`{key}[{index}].id` is {ascii(number)[:80]}", "a number")
        if number in found:
            raise ExportError(
                file, f"`{key}[{index}].id` {number!r} is there twice", "another number for each"
            )
        found[number] = record
    return found


def _records(file: str, document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    records = document.get(key)
    if not isinstance(records, list):
        raise ExportError(file, f"`{key}` is {_kind(records)}", "a list")
    return [_mapping(file, f"`{key}[{index}]`", record) for index, record in enumerate(records)]


def _mapping(file: str, where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ExportError(file, f"{where} is {_kind(value)}", "an object {…}")
    return value


def _kind(value: object) -> str:
    return "missing" if value is None else f"of type {type(value).__name__}"


def _hashable(value: object) -> object:
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
