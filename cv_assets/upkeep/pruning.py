"""Which of Dagster's runs are kept, by a rule under which the UI keeps what it shows and no sensor acts again.

Dagster remembers by its runs: the newest record of an asset's partition is in the run that made it, and a sensor's
request is made once because its run is there. The lake knows nothing of it, so it loses nothing either.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import polars as pl

from cv_assets.upkeep.schema import RunPruning
from cv_assets.words import counted

NEWEST_OF_A_JOB: Final = 200
"""So many runs of each job stay whatever their age: no sensor looks at older ones of a job (RUNS_LOOKED_AT)."""

Outcome = Literal["goes", "thinned", "stays", "young"]


@dataclass(frozen=True)
class Run:
    """A run as Dagster's records know it. `ended_at` is None in flight; `root` is the run it re-executes, or itself.

    `requested`: a sensor or schedule asked for it, by a key that is spent while the run is there.
    """

    run_id: str
    root: str
    job: str
    partition: str
    status: str
    ended_at: datetime | None
    requested: bool = False
    thinned: bool = False

    @property
    def ended_well(self) -> bool:
        """Whether nobody has anything to mend."""
        return self.status == "SUCCESS"


@dataclass(frozen=True)
class Fate:
    """What becomes of a run, and why in words."""

    run: Run
    outcome: Outcome
    why: str


def fates(runs: Sequence[Run], shown: Collection[str], before: datetime) -> list[Fate]:
    """What becomes of each of `runs`, the newest first, when those go that ended before `before` and nobody needs.

    `shown` are the runs that the newest record of an asset's partition or of a check is from. A run and those that
    re-executed it go together or not at all. One that ended well and stays is thinned: its messages go.
    """
    done = {run.root for run in runs if run.ended_well}
    asked = {run.run_id for run in runs if run.requested and run.root not in done}
    why = dict(zip((run.run_id for run in runs), _reasons(runs, shown, asked, before), strict=True))
    young = {run.run_id for run in runs if run.ended_at is None or run.ended_at >= before}
    needed: dict[str, str] = {}
    for run in runs:
        if why[run.run_id]:
            needed.setdefault(run.root, run.run_id)
    return [_fate(run, why[run.run_id], needed.get(run.root), run.run_id in young) for run in runs]


def _fate(run: Run, why: str, needed: str | None, is_young: bool) -> Fate:
    if is_young:
        return Fate(run, "young", why)
    if needed is None:
        return Fate(run, "goes", "nobody needs it")
    why = why or f"it is of one group with {needed}, which stays"
    return Fate(run, "thinned" if run.ended_well and not run.thinned else "stays", why)


def _reasons(
    runs: Iterable[Run], shown: Collection[str], asked: Collection[str], before: datetime
) -> Iterator[str]:
    """Why each run is needed; empty when it is not. `asked`: what they did is still asked for."""
    of_job: Counter[str] = Counter()
    of_partition: Counter[tuple[str, str]] = Counter()
    for run in runs:
        of_job[run.job] += 1
        of_partition[run.job, run.partition] += 1
        is_newest = run.partition != "" and of_partition[run.job, run.partition] == 1
        reasons = {
            "it is in flight": run.ended_at is None,
            "it is not old enough": run.ended_at is not None and run.ended_at >= before,
            "the newest record of a table or of a check is from it": run.run_id in shown,
            "it did not end well, and its sensor would ask for it again": run.run_id in asked,
            f"it is the newest of {run.job} for {run.partition}": is_newest,
            f"it is one of the newest {NEWEST_OF_A_JOB} of {run.job}": of_job[run.job] <= NEWEST_OF_A_JOB,
        }
        yield next((why for why, holds in reasons.items() if holds), "")


def as_rows(found: Iterable[Fate]) -> pl.DataFrame:
    """The old runs, as the table says them; those that stay and lost their messages before are left out."""
    rows = [
        (
            one.run.run_id,
            one.run.job,
            one.run.partition,
            one.run.status,
            one.run.ended_at,
            one.outcome,
            one.why,
        )
        for one in found
        if one.outcome != "young" and not (one.outcome == "stays" and one.run.thinned)
    ]
    return pl.DataFrame(rows, schema=RunPruning.create_empty().schema, orient="row")


def in_words(outcomes: Mapping[Outcome, int], days: int | None, *, dry_run: bool) -> str:
    """What a pruning did, or would do, in one sentence, from the number of runs of each outcome."""
    if days is None:
        return "Runs are kept for ever: the spec's retention.runs_days says for how many days else."
    gone, thinned = (counted(outcomes.get(one, 0), "run") for one in ("goes", "thinned"))
    old, young = outcomes.get("stays", 0), counted(outcomes.get("young", 0), "run")
    would = "would go" if dry_run else "went"
    lose = "would lose" if dry_run else "lost"
    stay = f"{young} ended in the last {counted(days, 'day')}, {old:,} older stay as they are"
    return f"{gone} {would}, {thinned} that something needs {lose} the messages; {stay}."
