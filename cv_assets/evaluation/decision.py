"""The decision of the gate: bounds, then what may be lost against the release, then what the benchmark must hold."""

from dataclasses import asdict

import polars as pl

from cv_assets.evaluation.acceptance import Choice, accept, band_of
from cv_assets.evaluation.conditions import conditions_of, cover
from cv_assets.evaluation.regression import compare
from cv_assets.evaluation.released import Released
from cv_assets.evaluation.schema import ReleaseDecision
from cv_assets.spec.schema import Spec


def decide(
    report: pl.DataFrame,
    split_table: pl.DataFrame,
    choice: Choice,
    spec: Spec,
    *,
    candidate: str,
    released: Released | None,
) -> pl.DataFrame:
    """One row of `ReleaseDecision` per criterion: those of the spec in its order, then the conditions that train.

    `released` is what was in force when the candidate was requested.
    """
    band, settings = band_of(report, choice.model), spec.evaluation
    trained, golden = (
        conditions_of(split_table.filter(pl.col("role") == role), spec.conditions)
        for role in ("train", "golden")
    )
    rulings = [
        *(accept(report, one, choice, trained) for one in settings.acceptance),
        *(compare(report, one, choice, released, set(split_table["role"])) for one in settings.regression),
        *(
            cover(condition, frames, golden.get(condition, 0), settings.new_condition_frames)
            for condition, frames in trained.items()
        ),
    ]
    same = {
        "candidate": candidate,
        "model": choice.model,
        "lower": band.lower,
        "upper": band.upper,
        "released_version": released.version if released else None,
    }
    rows = [{"number": number, **asdict(one), **same} for number, one in enumerate(rulings, start=1)]
    return pl.DataFrame(rows, schema=ReleaseDecision.create_empty().schema)
