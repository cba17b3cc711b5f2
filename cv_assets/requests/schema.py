"""Contract of the requests step."""

import dataframely as dy


class TrainingRequest(dy.Schema):
    """Why a training happens, and the state of the world that it starts from."""

    candidate = dy.String(primary_key=True, regex="^[A-Za-z0-9_-]+$")
    reason = dy.String(regex="^(first_release|drift|kpi|schedule|person)$")
    evidence = dy.String(description="What speaks for it: a sentence, or the id of an alarm.")
    requested_by = dy.String()
    requested_at = dy.Datetime(time_zone="UTC", time_unit="us", metadata={"volatile": True})
    base_commit = dy.String(description="The lake commit that was looked at.")
    spec_digest = dy.String()
    benchmark_version = dy.Int64(min=0, description="0: there is no benchmark yet.")
    released_version = dy.String(
        nullable=True, description="What is in force; null before the first release."
    )
