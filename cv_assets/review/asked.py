"""What people are asked about: every REVIEW, a random share of the other verdicts, and drifted deliveries whole.

A delivery joins them after its verdicts were given, so how probable it was that a capture is seen follows from the
stored probability and from drift together. Queue, KPIs and replay must agree on it: all of them ask here.
"""

from collections.abc import Collection
from typing import Final

import polars as pl

from cv_assets.drift.episodes import Episode, episodes
from cv_assets.inspection.schema import ASKED
from cv_assets.reference.schema import NOVELTY

_WHOLE: Final = pl.Schema(
    {
        "delivery": pl.String(),
        "drifted_since": pl.Datetime("us", "UTC"),
        "drifted_why": pl.String(),
        "still_asked": pl.Boolean(),
    }
)


def asked(inspections: pl.DataFrame, drifted: Collection[str]) -> pl.DataFrame:
    """`inspections` with `asked`, and the `probability`, above 0 to 1, that people were to be asked about the capture.

    It reads verdict, audit, review_probability and delivery. `drifted` are the deliveries that people see whole.
    """
    whole = pl.col("delivery").is_in(sorted(drifted))
    certain = whole | (pl.col("verdict") == "REVIEW")
    return inspections.with_columns(
        asked=ASKED | whole, probability=pl.when(certain).then(1.0).otherwise("review_probability")
    )


def whole_deliveries(metrics: pl.DataFrame, patience: int, in_force: int | None) -> pl.DataFrame:
    """The deliveries of drift alarms, one row each: delivery, `drifted_since` when that was known, `drifted_why`.

    They are those of `drift.episodes.drifted_deliveries`, and the same columns of drift_metrics are read. They are
    `still_asked` about while the release that judged them is the one `in_force`: the next one has a reference of its
    own, and a person wanted it.
    """
    confirmed = [
        one for one in episodes(metrics, patience) if one.role == "alarms" and one.confirmed_at is not None
    ]
    rows = [
        (delivery, one.confirmed_at, _why(one, place), one.release_number == in_force)
        for one in confirmed
        for place, delivery in enumerate(one.deliveries)
    ]
    found = pl.DataFrame(rows, schema=_WHOLE, orient="row")
    return found.sort("delivery", "drifted_since", "drifted_why").unique(
        "delivery", keep="first", maintain_order=True
    )


def _why(episode: Episode, place: int) -> str:
    """Why the delivery at that place of the episode is seen whole; what comes later does not change the words."""
    release = episode.release or "the release"
    first = episode.deliveries[0]
    if episode.slow:
        return (
            f"its delivery is part of a slow drift: since {first}, deliveries move away from what {release} was "
            "trained on by small steps"
        )
    looks = "looks unlike" if episode.statistic == NOVELTY else f"differs in {episode.statistic} from"
    others = f", as {episode.deliveries[place - 1]} before it" if place else ""
    if not place and len(episode.deliveries) > 1:
        others = f", and so does {episode.deliveries[1]} after it"
    return f"its delivery {looks} what {release} was trained on{others}"
