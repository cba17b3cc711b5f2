"""Contract of the drift step: how a delivery differs from what the release that judged it was trained on."""

from typing import Final

import dataframely as dy

from cv_assets.reference.schema import ROLES

JUDGED: Final = ("ok", "drifted")
"""Verdicts on a delivery that could be held against its reference."""
VERDICTS: Final = (*JUDGED, "not_enough", "not_calibrated", "no_reference")


class DriftMetrics(dy.Schema):
    """One statistic of one delivery, beside the reference of the release that judged it."""

    delivery = dy.String(primary_key=True, description="The delivery.")
    statistic = dy.String(primary_key=True, description="As in drift_reference.")
    role = dy.String(
        regex=f"^({'|'.join(ROLES)})$",
        description="alarms: may start a retraining. warns: for people. station: alarms the station.",
    )
    station = dy.String(
        nullable=True, description="The delivery's station; null when it is unknown or mixed."
    )
    captured_from = dy.Datetime(time_zone="UTC", time_unit="us", description="Its first capture.")
    captured_to = dy.Datetime(time_zone="UTC", time_unit="us", description="Its last capture.")
    release = dy.String(
        nullable=True, description="The version that judged it; null before the first release."
    )
    release_number = dy.Int64(nullable=True, description="Its row in releases.")
    candidate = dy.String(nullable=True, description="The candidate whose drift_reference is used.")
    frames = dy.Int64(min=0, description="Frames with a value (captures, for a share).")
    value = dy.Float64(nullable=True, description="The median of its frames, or the share.")
    reference_value = dy.Float64(nullable=True, description="The same of the reference.")
    psi = dy.Float64(nullable=True, min=0, description="Population stability index; null for a share.")
    kl = dy.Float64(
        nullable=True, min=0, description="KL divergence from the reference, in nats; null for a share."
    )
    psi_level = dy.Float64(
        nullable=True, description="The level that the PSI (or the share) is held against."
    )
    kl_level = dy.Float64(
        nullable=True, description="The same of the KL divergence, in nats; both are raised for few frames."
    )
    tolerance = dy.Float64(nullable=True, description="The spec's floor: less is never drift.")
    rank = dy.Float64(
        nullable=True,
        min=0,
        max=1,
        description="Share of the reference's own deliveries that differ less; ties count half. 0 within the tolerance "
        "and towards the side that is no drift; null without a calibrated reference.",
    )
    verdict = dy.String(
        regex=f"^({'|'.join(VERDICTS)})$",
        description="drifted: beyond level and tolerance. not_enough: too few frames. not_calibrated: too few "
        "reference deliveries. no_reference: nothing was in force that has one.",
    )
    why = dy.String(description="The verdict in words, with its figures.")
    values = dy.String(nullable=True, description="Where the values of its frames are, as Parquet.")
    measured_at = dy.Datetime(
        time_zone="UTC",
        time_unit="us",
        metadata={"volatile": True},
        description="When it was measured, in UTC.",
    )
