"""Holds the label table to its expectations, as a suite of Great Expectations, and keeps that library's own page."""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

# The library reads this when it is imported, and reports usage over the network otherwise.
os.environ["GX_ANALYTICS_ENABLED"] = "false"

import great_expectations as gx
import great_expectations.expectations as gxe
import polars as pl
from great_expectations.expectations.row_conditions import Column
from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
from great_expectations.render.view.view import DefaultJinjaPageView

from cv_assets.labels.expectations import EXPECTATIONS, Outcome
from cv_assets.spec.schema import Spec

EXAMPLES: Final = 10
"""How many offenders are shown."""

_TIME: Final = r"\d{8}T\d{6}\.\d+Z|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"
_UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@dataclass(frozen=True)
class Validation:
    """The outcomes by name, and the library's own page about them."""

    outcomes: Mapping[str, Outcome]
    page: bytes


def validate(labels: pl.DataFrame, *, frames: pl.Series, benchmark: pl.Series, spec: Spec) -> Validation:
    """Hold `labels` (rows of LabelTable) to the suite; `frames` and `benchmark` are the frame ids that are known.

    Raises RuntimeError when the library itself could not evaluate an expectation.
    """
    result = _run(_suite(spec), _judged(labels, frames, benchmark))
    outcomes = [_outcome(one.to_json_dict()) for one in result.results]
    return Validation({one.name: one for one in outcomes}, _page(result))


def _judged(labels: pl.DataFrame, frames: pl.Series, benchmark: pl.Series) -> Any:
    return labels.select(
        "frame_id",
        "label",
        "status",
        "resolution",
        "votes",
        "agreement",
        pl.col("annotators").list.n_unique().cast(pl.Int64),
        frame_is_known=pl.col("frame_id").is_in(frames.implode()),
        frame_is_in_benchmark=pl.col("frame_id").is_in(benchmark.implode()),
    ).to_pandas()


def _suite(spec: Spec) -> list[Any]:
    return [
        getattr(gxe, one.kind)(
            **one.arguments(spec),
            **({"row_condition": Column("status") == one.status} if one.status else {}),
            description=one.asks,
            meta={"check": one.name},
            severity="critical" if one.blocking else "warning",
        )
        for one in EXPECTATIONS
    ]


def _run(expectations: list[Any], judged: Any) -> Any:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}  # type: ignore[assignment]
    batch = context.data_sources.add_pandas("labels").add_dataframe_asset("label_table")
    definition = gx.ValidationDefinition(
        name="label_table",
        data=batch.add_batch_definition_whole_dataframe("all_labels"),
        suite=context.suites.add(gx.ExpectationSuite(name="label_table", expectations=expectations)),
    )
    result_format = {
        "result_format": "SUMMARY",
        "partial_unexpected_count": EXAMPLES,
        "unexpected_index_column_names": ["frame_id"],
    }
    return context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": judged}, result_format=result_format
    )


def _outcome(result: Mapping[str, Any]) -> Outcome:
    name = result["expectation_config"]["meta"]["check"]
    if result["exception_info"].get("raised_exception"):
        raise RuntimeError(f"{name} could not be evaluated: {result['exception_info']['exception_message']}")
    found = result["result"]
    where = [str(one.get("frame_id")) for one in found.get("partial_unexpected_index_list") or []]
    return Outcome(
        name=name,
        passed=result["success"],
        checked=found.get("element_count", 0),
        unexpected=found.get("unexpected_count", 0),
        examples=tuple(where[:EXAMPLES]),
        missing=tuple(map(str, found.get("partial_missing_list") or ())),
    )


def _page(result: Any) -> bytes:
    # The renderer logs a traceback for each numpy float, and shows it all the same.
    logging.getLogger("great_expectations.render").setLevel(logging.CRITICAL)
    page = DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(result))  # type: ignore[no-untyped-call]
    # When it was validated is in the lake's log: the same table has the same page, byte for byte.
    return re.sub(f"{_TIME}|{_UUID}", "", page).encode()
