"""Contract of the requests step."""

import dataframely as dy


class TrainingRequest(dy.Schema):
    """Why a training happens, and the state of the world that it starts from."""

    candidate = dy.String(
        primary_key=True, regex="^[A-Za-z0-9_-]+$", description="Its name: letters, digits, _ and -."
    )
    reason = dy.String(
        regex="^(first_release|drift|kpi|schedule|person)$",
        description="What started it: first_release, drift, kpi, schedule or person.",
    )
    evidence = dy.String(description="What speaks for it: a sentence, or the id of an alarm.")
    requested_by = dy.String(description="The person or the sensor that asked.")
    requested_at = dy.Datetime(
        time_zone="UTC",
        time_unit="us",
        description="When it was asked for, in UTC.",
        metadata={"volatile": True},
    )
    base_commit = dy.String(description="The lake commit that was looked at.")
    spec_digest = dy.String(description="Hash of the spec that was in force.")
    benchmark_version = dy.Int64(min=0, description="0: there is no benchmark yet.")
    released_version = dy.String(
        nullable=True, description="What is in force; null before the first release."
    )
    run = dy.String(
        nullable=True,
        description="The Dagster run that asked; one that re-executes it goes on with its request.",
        metadata={"volatile": True},
    )
