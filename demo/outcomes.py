"""What the seasons left, gathered for the claims and for the telling: tables of the lake, and what the plant knows."""

from dataclasses import dataclass

import polars as pl

from cv_assets.alarms.schema import Alarms as AlarmTable
from demo.candidates import in_force, judged
from demo.claims import Outcome
from demo.figures import Figures, golden_figures, verdict_figures
from demo.loop_claims import Alarms, Loop
from demo.people import Asked
from demo.plant import read_verdicts
from demo.play import Play
from demo.season1 import CANDIDATE
from demo.season2 import Season2
from demo.season3 import Season3, estimated
from demo.season4 import Season4
from demo.seasons import captured_in
from demo.telling import Told
from demo.verdict_claims import Decider, Inspected
from demo.watch import StoryError
from resources.lake import Lake, RefNotFoundError
from resources.tables import Snapshot


@dataclass(frozen=True)
class Played:
    """What was played under a release. A season that ends without a release is the last one."""

    second: Season2 | None = None
    third: Season3 | None = None
    fourth: Season4 | None = None

    @property
    def asked(self) -> tuple[Asked, ...]:
        """What people were asked, by season."""
        seasons = (self.second, self.third, self.fourth)
        return tuple(one.asked for one in seasons if one is not None and one.asked is not None)

    @property
    def answered(self) -> dict[int, Snapshot]:
        """The lake once people had answered, by season."""
        seasons = {2: self.second, 3: self.third, 4: self.fourth}
        found = {number: one.answered for number, one in seasons.items() if one is not None}
        return {number: lake for number, lake in found.items() if lake is not None}

    @property
    def why_it_ended(self) -> str:
        """Why there is no season 4, in words."""
        if self.second is None:
            return "the first candidate was refused"
        if self.third is None or self.third.candidate is None:
            return "no drift alarm opened in season 3"
        return f"candidate {self.third.candidate} was refused"


def outcome(play: Play) -> Outcome:
    """What season 1 left, of a refused candidate what its own branch holds; and frames and labels of all seasons."""
    head, branch = play.watch.head(), _tables_of(play, CANDIDATE)
    decision = branch.table("release_decision", CANDIDATE)
    checkpoint = branch.table(f"{decision['model'][0]}_checkpoint", CANDIDATE)
    return Outcome(
        spec=play.spec,
        truth=play.files,
        golden=frozenset(module.number for module in play.cast.golden),
        voted=frozenset(cell.frame_id for cell in play.voted),
        verified={cell.frame_id: set_ for cell, set_ in play.verified.items()},
        raw=head.tables("raw_frames"),
        prepared=head.tables("prepared_frames"),
        labels=head.table("label_table"),
        benchmark=head.table("benchmark_frames"),
        split=branch.table("split_table", CANDIDATE),
        report=branch.table("evaluation_report", CANDIDATE),
        decision=decision,
        checkpoint=checkpoint,
        weights=(branch.read(checkpoint["weights"][0]), branch.read(checkpoint["backbone"][0])),
        releases=head.table("releases"),
        tags={
            name: Snapshot(head.lake, commit).table("releases")
            for name, commit in play.watch.tables.lake.tags("v").items()
        },
    )


def inspected(play: Play, played: Played) -> Inspected:
    """What the seasons under a release left: in the lake, in the outbox, and in what the annotators read.

    Raises StoryError when there was none.
    """
    if played.second is None:
        raise StoryError("Nothing was inspected under a release.")
    head = play.watch.head()
    explanation = head.table("verdict_explanation")
    outbox = play.data_dir / play.spec.inspection.outbox
    opened = pl.col("kind") == "drift", pl.col("state") != "warning"
    return Inspected(
        spec=play.spec,
        truth={cell.frame_id: cell for cell in play.cells},
        verified=frozenset(cell.frame_id for cell in play.verified),
        deciders=_deciders(head, played),
        raw=head.tables("raw_frames"),
        inspections=head.tables("inspections"),
        verdict_files={key: read_verdicts(outbox / f"{key}.json") for key in head.partitions("outbox")},
        asked=played.asked,
        drifted=frozenset(_alarms(head).filter(*opened)["deliveries"].explode().drop_nulls()),
        queue=head.table("review_queue"),
        explained=played.second.explained,
        explanation=explanation,
        dangling=_dangling(head.lake, explanation),
        before=played.second.before.tables("inspections"),
        replay=head.table("threshold_replay"),
    )


def loop(play: Play, played: Played) -> Loop:
    """What seasons 3 and 4 left. Raises StoryError unless all were played."""
    second, third = played.second, played.third
    if second is None or third is None or third.candidate is None or played.fourth is None:
        raise StoryError("The loop was not played to its end.")
    head, parts = play.watch.head(), play.cast
    unseen = (*parts.golden, *parts.poly_golden, *parts.later, *parts.poly_imaged)
    return Loop(
        spec=play.spec,
        truth={cell.frame_id: cell for cell in play.cells},
        unseen=frozenset(module.number for module in unseen),
        inspections=head.tables("inspections"),
        alarms=Alarms(_alarms(second.answered), _alarms(third.warned), _alarms(third.alarmed), _alarms(head)),
        requests=head.tables("training_request"),
        releases=head.table("releases"),
        split=head.table("split_table", third.candidate),
        decision=head.table("release_decision", third.candidate),
        figures=figures(play, played),
    )


def told(play: Play, played: Played) -> Told:
    """All that is told at the end."""
    head, third = play.watch.head(), played.third
    candidates = [CANDIDATE, *([third.candidate] if third and third.candidate else [])]
    return Told(
        figures=figures(play, played),
        estimates={number: estimated(play, lake) for number, lake in played.answered.items()},
        decisions={one: _tables_of(play, one).table("release_decision", one) for one in candidates},
        asked=played.asked,
        raw=head.tables("raw_frames"),
        prepared=head.tables("prepared_frames"),
        inspections=head.tables("inspections"),
        outbox=head.tables("outbox"),
        queue=head.table("review_queue") if head.has("review_queue") else pl.DataFrame({"state": []}),
        releases=head.table("releases"),
        requests=head.tables("training_request"),
        alarms=_alarms(head),
    )


def figures(play: Play, played: Played) -> dict[str, Figures]:
    """The figures by the truth of each season that was played under a release; season 4 also by product."""
    if played.second is None:
        return {}
    head, settings = play.watch.head(), play.spec.evaluation
    report, decision = (head.table(one, CANDIDATE) for one in ("evaluation_report", "release_decision"))
    verdicts = head.tables("inspections")
    shown = {"season2": verdicts.filter(captured_in(2)), "season3": verdicts.filter(captured_in(3))}
    if played.fourth is not None:
        last = verdicts.filter(captured_in(4))
        mono = pl.col("group").is_in([f"m{module.number:02d}" for module in play.cast.later])
        shown |= {"season4": last, "poly": last.filter(~mono), "mono": last.filter(mono)}
    return {
        "season1": golden_figures(report, decision["model"][0]),
        **{name: verdict_figures(rows, play.truth, settings) for name, rows in shown.items()},
    }


def _tables_of(play: Play, candidate: str) -> Snapshot:
    """Where the candidate's tables are: on main once it is released, else on its own branch."""
    head = play.watch.head()
    return head if head.has("release_decision", candidate) else judged(play, candidate)


def _deciders(head: Snapshot, played: Played) -> dict[int, Decider]:
    """What was in force in each season that was played; a release comes at the end of seasons 1 and 3."""
    lakes: dict[int, Snapshot | None] = {
        2: played.second.before if played.second else None,
        3: played.third.alarmed if played.third else None,
        4: head if played.fourth else None,
    }
    return {number: _decider(lake) for number, lake in lakes.items() if lake is not None}


def _decider(lake: Snapshot) -> Decider:
    release = in_force(lake)
    trained = lake.table(f"{release['model']}_checkpoint", release["candidate"])
    return Decider(release, trained["weights_sha256"][0])


def _alarms(lake: Snapshot) -> pl.DataFrame:
    return lake.table("alarms", or_empty=AlarmTable)


def _dangling(lake: Lake, explanation: pl.DataFrame) -> tuple[str, ...]:
    """The links of the chain whose object is not in the lake at the commit they name."""
    places = explanation.select("commit", "path").unique(maintain_order=True)
    return tuple(
        f"{path} at {commit}" for commit, path in places.iter_rows() if not _is_there(lake, commit, path)
    )


def _is_there(lake: Lake, commit: str, path: str) -> bool:
    try:
        return path in lake.paths(commit, path)
    except RefNotFoundError:
        return False
