"""How far annotators agree beyond chance. Votes are rows of frame_id, annotator and label; a null label is no vote.

A kappa that is not defined (nothing in common, or only one class in play) is None, never a number.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from sklearn.metrics import cohen_kappa_score


@dataclass(frozen=True)
class Fleiss:
    """Agreement of all annotators; `frames` are those with at least two votes, `votes` the votes on them."""

    kappa: float | None
    observed: float | None
    frames: int
    votes: int


def cohen_kappas(votes: pl.DataFrame) -> pl.DataFrame:
    """Cohen's kappa of every two annotators who voted on the same frame, most frames in common first.

    Columns: annotator, other, frames (in common), observed (share of them with the same label), kappa in [-1, 1].
    """
    labelled = votes.filter(pl.col("label").is_not_null()).select("frame_id", "annotator", "label")
    others = labelled.rename({"annotator": "other", "label": "other_label"})
    both = labelled.join(others, on="frame_id").filter(pl.col("annotator") < pl.col("other"))
    pairs = [
        {"annotator": one, "other": other, **_cohen(common)}
        for (one, other), common in both.group_by("annotator", "other")
    ]
    schema = {"annotator": pl.String, "other": pl.String, "frames": pl.Int64, "observed": pl.Float64}
    return pl.DataFrame(pairs, schema={**schema, "kappa": pl.Float64}).sort(
        ["frames", "annotator", "other"], descending=[True, False, False]
    )


def _cohen(common: pl.DataFrame) -> dict[str, float | int | None]:
    one, other = common["label"].to_list(), common["other_label"].to_list()
    # With a single class in play all agreement is expected by chance, and kappa is 0 / 0.
    kappa = float(cohen_kappa_score(one, other)) if len({*one, *other}) > 1 else None
    observed = float((common["label"] == common["other_label"]).mean())  # type: ignore[arg-type]
    return {"frames": common.height, "observed": observed, "kappa": kappa}


def fleiss_kappa(votes: pl.DataFrame) -> Fleiss:
    """Fleiss' kappa over the frames with at least two votes, also when frames have different numbers of votes.

    Observed agreement is the mean over frames of the share of agreeing pairs of votes; chance agreement comes from
    the class shares among all their votes. With equal numbers of votes this is the original definition.

    Source: J. L. Fleiss, "Measuring nominal scale agreement among many raters", Psychological Bulletin 76 (1971);
    for unequal numbers K. L. Gwet, "Handbook of Inter-Rater Reliability" (2014), section 2.5, without weights.
    """
    counts_FC = _vote_counts(votes)
    votes_F = counts_FC.sum(axis=1)
    counts_FC, votes_F = counts_FC[votes_F > 1], votes_F[votes_F > 1]
    total = int(votes_F.sum())
    if not total:
        return Fleiss(kappa=None, observed=None, frames=0, votes=0)
    pairs_F = (counts_FC * (counts_FC - 1)).sum(axis=1) / (votes_F * (votes_F - 1))
    observed = float(pairs_F.mean())
    chance = float(((counts_FC.sum(axis=0) / total) ** 2).sum())
    kappa = (observed - chance) / (1 - chance) if np.count_nonzero(counts_FC.sum(axis=0)) > 1 else None
    return Fleiss(kappa=kappa, observed=observed, frames=len(votes_F), votes=total)


def _vote_counts(votes: pl.DataFrame) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    labelled = votes.filter(pl.col("label").is_not_null())
    if labelled.is_empty():
        return np.zeros((0, 0), dtype=np.int64)
    counts = labelled.pivot("label", index="frame_id", values="annotator", aggregate_function="len").drop(
        "frame_id"
    )
    return counts.fill_null(0).to_numpy().astype(np.int64)
