"""Contract of the reference step: what normal looks like to a candidate."""

from typing import Final

import dataframely as dy

ROLES: Final = ("alarms", "warns", "station")
"""What a statistic may do: open an alarm that retrains, warn people, or alarm the station, which never retrains."""

NOVELTY: Final = "novelty"
REJECTED: Final = "rejected"
REPEATED: Final = "repeated"


class DriftReference(dy.Schema):
    """One statistic of the frames that a candidate trains on: frozen bins, and how much its own deliveries differ.

    In force with the candidate's release.
    """

    statistic = dy.String(
        primary_key=True,
        description="decoded.NAME and prepared.NAME (statistics of the image before and after the pass), novelty (mean "
        "distance to the nearest training frames in a frozen backbone's features), score.MODEL (defect score out of "
        "fold), rejected and rejected.REASON (share of the captures), repeated (share that repeats another's picture).",
    )
    role = dy.String(
        regex=f"^({'|'.join(ROLES)})$",
        description="alarms: may start a retraining. warns: for people. station: alarms the station.",
    )
    side = dy.String(
        regex="^(both|above)$", description="Is any change drift, or only one towards higher values?"
    )
    frames = dy.Int64(min=0, description="Training frames with a value (captures, for a share).")
    deliveries = dy.Int64(min=0, description="Deliveries they came with, of `min_frames` and more.")
    usual_frames = dy.Int64(
        nullable=True,
        min=1,
        description="Median of their frames: a smaller delivery is held against a higher level, for it has more noise. "
        "Null for a share, without deliveries, and in references of earlier versions.",
    )
    median = dy.Float64(nullable=True, description="Of the frames; of the deliveries, for a share.")
    edges = dy.List(
        dy.Float64(),
        description="Inner edges of the bins, rising; a value belongs to the bin right of the last edge that is not "
        "above it. Empty for a share.",
    )
    counts = dy.List(
        dy.Int64(), description="Training frames per bin: one more than edges. Empty for a share."
    )
    psi = dy.List(
        dy.Float64(),
        description="PSI of each reference delivery against the others, rising; for a share: its own value.",
    )
    kl = dy.List(dy.Float64(), description="KL divergence likewise, in nats; empty for a share.")
    psi_level = dy.Float64(nullable=True, description="A delivery's PSI (or share) beyond it is unusual.")
    kl_level = dy.Float64(
        nullable=True, description="A delivery's KL divergence beyond it is unusual, in nats."
    )
    quantile = dy.Float64(description="The levels are this quantile of `psi` and `kl`.")
    psi_level_low = dy.Float64(
        nullable=True,
        description="Lower end of the level's interval, from order statistics; null: too few deliveries.",
    )
    psi_level_high = dy.Float64(nullable=True, description="Upper end likewise.")
    least_false_alarms = dy.Float64(
        nullable=True, description="1 / (deliveries + 1): no level can promise fewer per ordinary delivery."
    )
    calibrated = dy.Bool(description="Are there enough reference deliveries for a verdict?")
    values = dy.String(nullable=True, description="Where the values of all frames are, as Parquet.")
    arrays = dy.String(
        nullable=True,
        description="Where projection and training frames of the novelty are; null for the others.",
    )
