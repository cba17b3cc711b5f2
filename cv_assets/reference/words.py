"""What people are told of a reference: how much it can promise, and what to do when that is too little."""

import math

import polars as pl

from cv_assets.reference.schema import NOVELTY
from cv_assets.spec.drift import Drift
from cv_assets.words import Said, counted


def calibration_said(rows: pl.DataFrame, drift: Drift) -> Said:
    """Whether the reference is calibrated, and the fewest false alarms that so many deliveries can promise."""
    lacking = rows.filter(~pl.col("calibrated"))
    novelty = rows.row(by_predicate=pl.col("statistic") == NOVELTY, named=True)
    if not novelty["calibrated"]:
        return Said(
            False,
            f"Only {_deliveries(novelty['deliveries'], drift)}; {drift.min_deliveries} are needed. Until then "
            "deliveries are measured, but no drift alarm can open. Label frames of more deliveries and train again.",
        )
    said = f"{_promise(novelty['deliveries'], drift)} {_warnings(rows)}"
    if lacking.is_empty():
        return Said(True, said)
    names = ", ".join(lacking["statistic"].head(5))
    return Said(False, f"{said} Not calibrated, for want of deliveries with values: {names}.")


def it_takes(patience: int) -> str:
    """How many drifted deliveries are an alarm, in words."""
    return "one" if patience == 1 else f"{patience} in a row or {patience + 1} of {2 * patience + 1}"


def _promise(deliveries: int, drift: Drift) -> str:
    asked = 1 - drift.level
    takes = math.ceil(1 / asked - 1e-9) - 1
    # As likely as any of them to be the most unusual one, an ordinary delivery lies beyond the j-th of k differences
    # with a probability of (k + 1 - j) / (k + 1).
    beyond = (deliveries + 1 - math.ceil(drift.level * deliveries - 1e-9)) / (deliveries + 1)
    too_few = f" The spec asks for {100 * asked:.3g} %, which takes {takes} deliveries." * (
        deliveries < takes
    )
    return (
        f"{_deliveries(deliveries, drift)}. At most about {100 * beyond:.0f} % of ordinary deliveries exceed the "
        f"novelty's level; an alarm takes {it_takes(drift.patience)}. No level of {deliveries} deliveries can promise "
        f"less than {100 / (deliveries + 1):.1f} %.{too_few}"
    )


def _warnings(rows: pl.DataFrame) -> str:
    warns = rows.filter(role="warns").sort("deliveries", descending=True)
    row = warns.row(0, named=True)
    level = (
        f"{row['deliveries']} deliveries give no higher level than their largest difference"
        if row["quantile"] > 1 - 1 / max(row["deliveries"], 1)
        else f"each level is the {row['quantile']:.3g} quantile"
    )
    return f"The levels of what only warns are corrected for {warns.height} statistics: {level}."


def _deliveries(count: int, drift: Drift) -> str:
    return f"{counted(count, 'delivery', 'deliveries')} of {drift.min_frames} training frames and more"
