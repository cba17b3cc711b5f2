"""What a training starts from: the state of the world that its candidate will be judged against."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import polars as pl

from cv_assets.labels.benchmark import version_of
from cv_assets.requests.schema import TrainingRequest

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")


def name_mistake(candidate: str, requested: Iterable[str]) -> str:
    """Why `candidate` cannot be the name of a new candidate beside those `requested` before, or nothing."""
    if not _NAME.fullmatch(candidate):
        return f"a candidate's name is 1 to 100 of [A-Za-z0-9_-], got {candidate!r}"
    # Its branch could lie in the same file as the other's.
    alike = [one for one in requested if one != candidate and one.casefold() == candidate.casefold()]
    return f"{candidate!r} differs from the candidate {alike[0]!r} only by case" if alike else ""


def release_in_force(releases: pl.DataFrame) -> dict[str, Any] | None:
    """The row in force: the last one that is not a refusal. None before the first release.

    An empty `releases` may lack its columns.
    """
    concluded = releases.filter(pl.col("outcome") != "refused") if releases.width else releases
    return None if concluded.is_empty() else concluded.row(-1, named=True)


def base_is_in_force(request: Mapping[str, Any], now: Mapping[str, Any] | None) -> bool:
    """Whether `now`, the row of releases in force, is what the training of that request is judged against.

    A version that was replaced and rolled back to is another row: what was requested before stays without a base.
    """
    if now is None or request["released_version"] != now["version"]:
        return now is None and request["released_version"] is None
    return bool(request["requested_at"] >= now["concluded_at"])


def new_request(
    *,
    candidate: str,
    reason: str,
    evidence: str,
    requested_by: str,
    requested_at: datetime,
    base_commit: str,
    spec_digest: str,
    benchmark_frames: pl.DataFrame,
    releases: pl.DataFrame,
    run: str | None = None,
) -> pl.DataFrame:
    """The one row of a training request; an empty `releases` may lack its columns."""
    now = release_in_force(releases)
    row = {
        "candidate": candidate,
        "reason": reason,
        "evidence": evidence,
        "requested_by": requested_by,
        "requested_at": requested_at,
        "base_commit": base_commit,
        "spec_digest": spec_digest,
        "benchmark_version": version_of(benchmark_frames),
        "released_version": now and now["version"],
        "run": run,
    }
    return pl.DataFrame([row], schema=TrainingRequest.create_empty().schema)


def same_request(published: pl.DataFrame, asked: pl.DataFrame) -> bool:
    """Whether both ask for the same training: candidate, reason, evidence and person agree."""
    told = ["candidate", "reason", "evidence", "requested_by"]
    return published.select(told).equals(asked.select(told))


def unseen_labels(labels: pl.DataFrame, seen: pl.DataFrame, benchmark_frames: pl.DataFrame) -> int:
    """How many agreed labels are not among those `seen` before; a label that changed is another one.

    All are rows of label_table but the benchmark's frames, which never train.
    """
    agreed = [one.filter(pl.col("status") == "agreed").select("frame_id", "label") for one in (labels, seen)]
    fresh = agreed[0].join(agreed[1], on=["frame_id", "label"], how="anti")
    return fresh.join(benchmark_frames, on="frame_id", how="anti").height
