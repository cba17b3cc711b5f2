"""Season 3: another kind of cell arrives. The product notices, people label, a sensor retrains, the gate judges.

Nobody launches the training: what people do is what they do every day, answer a worklist and verify golden modules.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from cv_assets.drift.episodes import drifted_deliveries
from cv_assets.reference.schema import NOVELTY
from demo.api import Run
from demo.candidates import conclude, in_force, watch_training
from demo.figures import Estimate, estimates, number, values, verdict_figures
from demo.people import Asked, names_of, read_asked, wait_for_answers
from demo.plant import BETWEEN_MODULES, VERIFIER
from demo.play import AT_ONCE, Play
from demo.seasons import captured_in, opening
from resources.tables import Snapshot


@dataclass(frozen=True)
class Season3:
    """What season 3 leaves besides the lake: the lake at its turns, and what people were asked.

    `warned` is the lake after the first delivery, `alarmed` when all were measured, `answered` once people had answered
    and quality was estimated. `candidate` is the one that a sensor requested; None when no alarm opened.
    """

    warned: Snapshot
    alarmed: Snapshot
    asked: Asked | None = None
    answered: Snapshot | None = None
    candidate: str | None = None
    released: bool = False


def play_season3(play: Play, before: Sequence[Asked]) -> Season3:
    """From the first poly module to the release of what was retrained. Raises StoryError when it cannot go on.

    People are not asked again what they were asked `before`.
    """
    modules, version = play.cast.third_season, in_force(play.watch.head())["version"]
    play.screen.chapter(f"Season 3. {len(modules)} poly modules arrive; {version} never saw one")
    warned = _first_delivery(play)
    alarmed = _other_deliveries(play)
    season = Season3(warned, alarmed)
    if drift_alarm(alarmed) is None:
        play.screen.say("no drift alarm opened, so nothing is retrained", "red")
        return season
    asked, answered = _review(play, before)
    candidate = _retrain(play)
    released = conclude(play, candidate, "All criteria are met, and mono loses no more than it may.")
    return replace(season, asked=asked, answered=answered, candidate=candidate, released=released)


def drift_alarm(lake: Snapshot) -> dict[str, Any] | None:
    """The open drift alarm, or else the warning, about the release in force; None when there is neither."""
    if not lake.has("alarms"):
        return None
    about = pl.col("release_number") == in_force(lake)["number"]
    rows = lake.table("alarms").filter(about, kind="drift").sort(pl.col("state") != "open")
    return next(rows.filter(pl.col("state") != "closed").iter_rows(named=True), None)


def _first_delivery(play: Play) -> Snapshot:
    """One module alone: if it is unusual the product warns, and waits for another one before it acts."""
    play.deliver(play.line(play.cast.third_season[:1], opening(3)), at_once=1)
    _wait_for_alarm(play, "warning", due=not _novelty(play).filter(verdict="drifted").is_empty())
    return play.watch.head()


def _other_deliveries(play: Play) -> Snapshot:
    others = play.cast.third_season[1:]
    play.deliver(play.line(others, opening(3) + BETWEEN_MODULES), at_once=AT_ONCE)
    metrics = play.watch.head().tables("drift_metrics")
    _wait_for_alarm(play, "open", due=bool(drifted_deliveries(metrics, play.spec.drift.patience)))
    rows, novelty = play.inspections(3), _novelty(play)
    drifted = novelty.filter(verdict="drifted").height
    play.screen.say(
        f"{drifted} of {novelty.height} deliveries drifted; by the truth, of {rows.height} cells: {_by_truth(play)}"
    )
    return play.watch.head()


def _wait_for_alarm(play: Play, state: str, *, due: bool) -> None:
    """Until the drift alarm is in that state, if the measured deliveries make one `due`; then tell it."""
    now = play.watch.at_head(drift_alarm)

    def there(_: list[Run]) -> bool:
        alarm = now()
        return alarm is not None and alarm["state"] in (state, "open")

    if due:
        play.watch.until(f"the drift alarm to be {state}", "review_changes", there)
    alarm = drift_alarm(play.watch.head())
    if alarm is None:
        play.screen.say("the product does not see anything unusual", "red")
    else:
        play.screen.say(f"{alarm['alarm_id']}, {alarm['state']}: {alarm['why']}", "yellow")
        play.screen.say(f"it waits for: {alarm['waiting']}")


def _review(play: Play, before: Sequence[Asked]) -> tuple[Asked, Snapshot]:
    """People see every cell of drifted deliveries; golden modules are verified, so that a new kind can be judged."""
    play.screen.chapter("Review: people label what drifted")
    asked = read_asked(play, 3, before)
    golden = {module.number for module in play.cast.poly_golden}
    names = names_of(play, asked)
    play.vote("review-3", {cell: name for cell, name in names.items() if cell.module not in golden})
    verified = {cell: name for cell, name in names.items() if cell.module in golden}
    play.verify("golden-3", verified, "golden")
    play.screen.say(
        f"the annotators vote on {len(names) - len(verified)} cells; {VERIFIER} verifies the {len(verified)} of "
        f"{len(golden)} golden modules"
    )
    wait_for_answers(play)
    head = play.watch.head()
    tell_estimates(play, head)
    return asked, head


def _retrain(play: Play) -> str:
    """Nobody launches it: a sensor finds the alarm ready and requests its candidate."""
    play.screen.chapter("Retraining: a sensor asks for it")
    alarm = drift_alarm(play.watch.head())
    candidates = f"{alarm['alarm_id']}-" if alarm else "drift-"
    requested: list[str] = []

    def asked_for(runs: list[Run]) -> bool:
        trained = [run.partition for run in runs if run.job == "retrain"]
        requested[:] = [name for name in trained if name.startswith(candidates)]
        return bool(requested)

    play.watch.until("the sensor to request a candidate", "retrain_on_drift", asked_for)
    play.screen.say(f"sensor retrain_on_drift requests candidate {requested[0]}")
    watch_training(play, requested[0], "none: a sensor requested it")
    return requested[0]


def tell_estimates(play: Play, lake: Snapshot) -> None:
    """What the product says of quality from the answers alone, beside the truth on the same deliveries."""
    release = in_force(lake)
    play.screen.say(f"what the product makes of the answers about {release['version']}:")
    for one in estimated(play, lake):
        play.screen.say(f"estimated {one.words}")


def estimated(play: Play, lake: Snapshot) -> list[Estimate]:
    """The newest estimates about the release in force."""
    of_it = pl.col("release_number") == in_force(lake)["number"]
    kpis, inspections = lake.table("kpis").filter(of_it), lake.tables("inspections").filter(of_it)
    return estimates(kpis, inspections, play.truth, play.spec.evaluation)


def _novelty(play: Play) -> pl.DataFrame:
    """The novelty of the season's deliveries."""
    metrics = play.watch.head().tables("drift_metrics").filter(statistic=NOVELTY)
    return metrics.filter(captured_in(3, "captured_from"))


def _by_truth(play: Play) -> str:
    figures = values(verdict_figures(play.inspections(3), play.truth, play.spec.evaluation))
    return ", ".join(f"{name} {number(value)}" for name, value in figures.items())
