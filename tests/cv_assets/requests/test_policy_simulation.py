"""Whatever ticks, restarts, retries and people do, an alarm gets one retraining at a time, and gets it.

A small model of the world: the lake's head and what of it conflicts, Dagster's run records with run keys and run
retries, two daemons whose ticks read, decide and create a run in steps that interleave with everything else. The policy
and the check in training_request are the real ones.
"""

import itertools
import random
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cv_assets.requests.policy import AUTOMATIC, Requested, Training, World, decide, gives_way
from cv_assets.spec.drift import Retraining

RULES = Retraining(min_new_labels=20, cooldown_hours=6, max_retries=2)
SENSORS = {"retrain_on_drift": ("drift", "station"), "retrain_on_kpi": ("kpi",)}
BUSY = ("queued", "requesting", "training")
STATION = {
    "alarm_id": "rejected-line1-d3", "kind": "station", "state": "open", "why": "40 % of d3 are rejected.",
    "station": "line1", "release": "v1.0.0", "release_number": 1, "fresh_labels": 999, "lacking_conditions": [],
    "attempts": 0, "waiting": "A person at station line1.", "closed_by": None,
}  # fmt: skip


@dataclass(frozen=True)
class Snapshot:
    """The lake at one commit; `publications` counts the requests before it: two from the same count conflict."""

    world: World
    publications: int
    digest: str


@dataclass
class Run:
    """One run of `retrain`; `asked` is what it would publish. It requests first, then trains."""

    run_id: str
    root: str
    asked: Requested
    sensor: str
    by_hand: bool = False
    status: str = "queued"
    pin: Snapshot | None = None
    conflicts: int = 0
    trains: bool = False
    will_retry: bool = False


@dataclass
class Tick:
    """A look of a sensor, interrupted anywhere."""

    sensor: str
    step: str = "records"
    trainings: tuple[Training, ...] = ()
    snapshot: Snapshot | None = None
    wanted: Requested | None = None
    said: list[str] = field(default_factory=list)


@dataclass
class Alarm:
    """What is so, whether or not the table of alarms knows it yet."""

    kind: str
    number: int
    state: str = "warning"
    labels: int = 0
    lacks: bool = False


class Plant:
    """A line, its people, its lake and its Dagster."""

    def __init__(self, seed: int) -> None:
        self.dice, self.ids = random.Random(seed), itertools.count(1)
        self.now = datetime(2026, 3, 2, tzinfo=UTC)
        self.digest, self.publications = "spec-1", 0
        self.releases = [("released", "v1.0.0", "first")]
        self.alarms: dict[str, Alarm] = {}
        self.requests: dict[str, Requested] = {}
        self.bases: dict[str, tuple[int | None, str]] = {}
        self.seen: dict[str, int] = {}
        self.decided: dict[str, bool] = {}
        self.table: list[dict] = [STATION]
        self.runs: list[Run] = []
        self.ticks: dict[tuple[int, str], Tick] = {}
        self.ended_ticks = 0
        self.trained: Counter[str] = Counter()
        self.tries: Counter[str] = Counter()
        self.said: list[str] = []
        self.outage = False

    # What is so.

    @property
    def in_force(self) -> tuple[int, str]:
        numbered = enumerate(self.releases, start=1)
        return [(number, version) for number, (how, version, _) in numbered if how != "refused"][-1]

    def is_open(self, candidate: str) -> bool:
        concluded = candidate in {name for _, _, name in self.releases}
        return not concluded and self.bases[candidate] == (self.in_force[0], self.digest)

    def automatic(self) -> list[str]:
        return [name for name, one in self.requests.items() if one.reason in AUTOMATIC]

    def head(self) -> Snapshot:
        requests = tuple(
            Requested(**{**vars(one), "open": self.is_open(name), "decided": name in self.decided})
            for name, one in self.requests.items()
        )
        number, version = self.in_force
        return Snapshot(World(tuple(self.table), requests, number, version), self.publications, self.digest)

    def fresh(self, alarm_id: str) -> int:
        return self.alarms[alarm_id].labels - self.seen.get(alarm_id, 0)

    def groups(self) -> dict[str, list[Run]]:
        groups: dict[str, list[Run]] = {}
        for run in reversed(self.runs):
            groups.setdefault(run.root, []).append(run)
        return groups

    def trainings(self) -> tuple[Training, ...]:
        return tuple(self._training(root, runs) for root, runs in self.groups().items())

    @staticmethod
    def _training(root: str, runs: list[Run]) -> Training:
        def newest(*states: str) -> Run | None:
            return next((run for run in runs if run.status in states), None)

        busy, good = newest(*BUSY), newest("success")
        shown = busy or good or runs[0]
        waits = any(run.will_retry for run in runs)
        state = "in flight" if busy else "succeeded" if good else "waiting" if waits else "failed"
        return Training(shown.asked.candidate, root, shown.run_id, state, len(runs), "failure")

    # What the daemons do.

    def tick(self, daemon: int, sensor: str) -> None:
        """One step of the tick that this daemon is in, or the first of a new one."""
        tick = self.ticks.setdefault((daemon, sensor), Tick(sensor))
        match tick.step:
            case "records":
                tick.trainings, tick.step = self.trainings(), "lake"
            case "lake":
                tick.snapshot, tick.step = self.head(), "decide"
            case "decide":
                self._decide(tick)
                tick.step = "look up the run key" if tick.wanted else "end"
            case "look up the run key":
                key = (sensor, tick.wanted.candidate)
                known = any((run.sensor, run.asked.candidate) == key for run in self.runs)
                tick.step = "end" if known else "create"
            case "create":
                self.launch(tick.wanted, sensor)
                tick.step = "end"
        if tick.step == "end":
            self.said = tick.said
            del self.ticks[daemon, sensor]
            self.ended_ticks += 1

    def _decide(self, tick: Tick) -> None:
        world = World(**{**vars(tick.snapshot.world), "trainings": tick.trainings})
        for alarm in world.alarms:
            if alarm["kind"] not in SENSORS[tick.sensor] or alarm["state"] == "closed":
                continue
            decision = decide(alarm, world, RULES, self.now)
            assert decision.why.startswith(f"{alarm['alarm_id']}: ")
            assert decision.why.endswith(".")
            tick.said.append(decision.why)
            if decision.candidate and not tick.wanted:
                assert alarm["kind"] != "station"
                asked = (decision.candidate, alarm["kind"], decision.evidence, tick.sensor)
                tick.wanted = Requested(*asked, requested_at=self.now, open=True)

    def restart(self, daemon: int) -> None:
        """It forgets everything; a run that it created stays, noted or not."""
        self.ticks = {key: tick for key, tick in self.ticks.items() if key[0] != daemon}

    def launch(self, asked: Requested, sensor: str = "") -> None:
        run_id = f"run{next(self.ids)}"
        self.runs.append(Run(run_id, run_id, asked, sensor, by_hand=not sensor))

    def retry(self, failed: Run, *, by_hand: bool = False) -> None:
        """From the failed step: what was requested is not requested again."""
        failed.will_retry = False
        again = Run(f"run{next(self.ids)}", failed.root, failed.asked, failed.sensor, by_hand=by_hand)
        again.trains = failed.trains
        self.runs.append(again)

    # What a run does.

    def go_on(self, run: Run, *, fails: bool = False) -> None:
        """The next thing that happens to a run that has not ended."""
        match run.status:
            case "queued":
                run.status = "training" if run.trains else "requesting"
                self.tries[run.asked.candidate] += run.trains and not run.by_hand
                self.pin(run)
            case "requesting" if fails and self.dice.random() < 0.5:
                self.fail(run)
            case "requesting":
                self.request(run, dies=fails)
            case "training" if fails:
                self.fail(run)
            case "training":
                run.status = "success"
                self.trained[run.asked.candidate] += 1
                self.decided[run.asked.candidate] = self.dice.random() < 0.4

    def pin(self, run: Run) -> None:
        run.pin = self.head()
        run.asked = Requested(**{**vars(run.asked), "requested_at": self.now, "run": run.root})

    def request(self, run: Run, *, dies: bool) -> None:
        """The step training_request, from its pinned commit to its publication."""
        asked, world = run.asked, run.pin.world
        there = next((one for one in world.requests if one.candidate == asked.candidate), None)
        alarm = next((one for one in world.alarms if one["alarm_id"] == asked.evidence), None)
        if gives_way(asked, alarm, world, RULES):
            run.status = "success"
            if run.conflicts:
                self.fail(run)  # within one run Dagster would go on; the next try ends well
            return
        if there and (there.reason, there.evidence, there.requested_by) != (
            asked.reason, asked.evidence, asked.requested_by
        ):  # fmt: skip
            self.fail(run)  # candidate_is_new
            return
        if there is None and run.pin.publications != self.publications:
            run.conflicts += 1
            self.fail(run) if run.conflicts > 5 else self.pin(run)
            return
        if there is None:
            self.publish(run, alarm)
        if dies:
            self.fail(run)
            return
        run.status, run.trains = "training", True
        self.tries[asked.candidate] += not run.by_hand

    def publish(self, run: Run, alarm: dict | None) -> None:
        asked = run.asked
        if asked.reason in AUTOMATIC:
            self.check_request(run, alarm)
        self.publications += 1
        self.requests[asked.candidate] = asked
        self.bases[asked.candidate] = (run.pin.world.number, run.pin.digest)
        if asked.evidence in self.alarms:
            self.seen[asked.evidence] = self.alarms[asked.evidence].labels

    def check_request(self, run: Run, alarm: dict | None) -> None:
        """What must hold for every retraining that nobody asked for by hand, in the world as it is."""
        asked = run.asked
        assert alarm is not None
        assert alarm["kind"] in ("drift", "kpi")
        assert alarm["release_number"] == run.pin.world.number
        assert alarm["kind"] == "drift" or not self.is_drifting(run.pin.world)
        assert asked.candidate not in self.requests
        assert self.fresh(asked.evidence) >= RULES.min_new_labels
        assert not self.alarms[asked.evidence].lacks
        earlier = [self.requests[name].requested_at for name in self.automatic()]
        assert all(asked.requested_at - one >= timedelta(hours=RULES.cooldown_hours) for one in earlier)
        if (run.pin.world.number, run.pin.digest) == (self.in_force[0], self.digest):
            assert not any(self.is_open(one) for one in self.requests)

    @staticmethod
    def is_drifting(world: World) -> bool:
        alarms = [(one["kind"], one["state"], one["release_number"]) for one in world.alarms]
        return ("drift", "open", world.number) in alarms

    def fail(self, run: Run) -> None:
        run.status = "failed"
        tries = len(self.groups()[run.root])
        run.will_retry = bool(run.sensor) and tries <= RULES.max_retries

    # What people and the line do.

    def judged(self) -> list[str]:
        concluded = {name for _, _, name in self.releases}
        return [one for one in self.decided if one not in concluded]

    def conclude(self, candidate: str, *, approve: bool) -> None:
        good = self.is_open(candidate) and self.decided[candidate] and approve
        released = sum(how == "released" for how, _, _ in self.releases)
        version = f"v1.{released}.0" if good else ""
        self.releases.append(("released" if good else "refused", version, candidate))

    def roll_back(self) -> None:
        earlier = [one for one in self.releases if one[0] == "released" and one[1] != self.in_force[1]]
        if earlier:
            _, version, candidate = self.dice.choice(earlier)
            self.releases.append(("rolled_back", version, candidate))

    def raise_alarm(self) -> None:
        number, _ = self.in_force
        kind, name = self.dice.choice(
            [("drift", "drift-r{}"), ("kpi", "kpi-r{}-overkill"), ("kpi", "kpi-r{}-escape_rate")]
        )
        alarm = self.alarms.setdefault(
            name.format(number), Alarm(kind, number, lacks=self.dice.random() < 0.3)
        )
        alarm.state = "open" if alarm.state == "warning" and self.dice.random() < 0.7 else alarm.state

    def train_by_hand(self) -> None:
        alarm_id = self.dice.choice(["wanted", *self.alarms])
        name = f"hand{next(self.ids)}" if self.dice.random() < 0.9 else f"{alarm_id}-1"
        self.launch(Requested(name, "person", alarm_id, "ada", self.now, open=True))

    def tidy(self, root: str) -> None:
        """Delete the records of a run and of its re-executions."""
        if self._training(root, self.groups()[root]).state in ("failed", "succeeded"):
            self.runs = [run for run in self.runs if run.root != root]

    def refresh(self) -> None:
        """Make the table of alarms again."""
        self.table = [STATION, *(self._row(alarm_id, alarm) for alarm_id, alarm in self.alarms.items())]

    def _row(self, alarm_id: str, alarm: Alarm) -> dict:
        number, version = self.in_force
        over = number != alarm.number
        return {
            "alarm_id": alarm_id, "kind": alarm.kind, "state": "closed" if over else alarm.state,
            "why": "It moved.", "station": None, "release": f"of row {alarm.number}", "release_number": alarm.number,
            "fresh_labels": self.fresh(alarm_id), "lacking_conditions": ["product=poly"] if alarm.lacks else [],
            "attempts": sum(one.evidence == alarm_id for one in self.requests.values()),
            "waiting": "Another such delivery.", "closed_by": version if over else None,
        }  # fmt: skip

    # Everything at random, then everything as it should be.

    def anything(self) -> None:
        """One thing that happens, more or less often; what cannot happen now does not."""
        things = [
            (60, self.some_tick), (25, self.some_progress), (3, self.some_retry), (3, self.some_conclusion),
            (8, self.some_labels), (1, self.refresh), (4, self.some_time), (1, self.raise_alarm),
            (0.1, self.roll_back), (0.2, self.another_spec), (1, self.some_restart), (0.15, self.train_by_hand),
            (1, self.some_repair), (0.2, self.some_tidying), (0.8, self.some_golden_frames), (0.5, self.some_outage),
        ]  # fmt: skip
        weights, do = zip(*things, strict=True)
        self.dice.choices(do, weights)[0]()

    def some(self, things: list) -> Any:
        return self.dice.choice(things) if things else None

    def some_tick(self) -> None:
        self.tick(self.dice.choice([1, 2]), self.dice.choice(list(SENSORS)))

    def some_restart(self) -> None:
        self.restart(self.dice.choice([1, 2]))

    def some_progress(self) -> None:
        if run := self.some([run for run in self.runs if run.status in BUSY]):
            self.go_on(run, fails=self.outage or self.dice.random() < 0.2)

    def some_retry(self) -> None:
        if run := self.some([run for run in self.runs if run.will_retry]):
            self.retry(run)

    def some_repair(self) -> None:
        groups = [
            runs for root, runs in self.groups().items() if self._training(root, runs).state == "failed"
        ]
        if runs := self.some(groups):
            self.retry(runs[0], by_hand=True)

    def some_tidying(self) -> None:
        if run := self.some(self.runs):
            self.tidy(run.root)

    def some_conclusion(self) -> None:
        if candidate := self.some(self.judged()):
            self.conclude(candidate, approve=self.dice.random() < 0.7)

    def some_labels(self) -> None:
        if alarm := self.some(list(self.alarms.values())):
            alarm.labels += self.dice.randint(1, 15)

    def some_golden_frames(self) -> None:
        if alarm := self.some(list(self.alarms.values())):
            alarm.lacks = False

    def some_time(self) -> None:
        self.now += timedelta(minutes=self.dice.randint(1, 240))

    def some_outage(self) -> None:
        self.outage = not self.outage

    def another_spec(self) -> None:
        self.digest = f"spec-{self.dice.randint(1, 3)}"

    def check(self) -> None:
        """What holds at every moment."""
        automatic = self.automatic()
        assert sum(map(self.is_open, automatic)) <= 1
        assert all(self.trained[name] <= 1 for name in automatic)
        assert all(self.tries[name] <= RULES.max_retries + 1 for name in automatic)

    def as_it_should_be(self) -> None:
        """An hour in which labels come, people answer what they read, nothing fails and every gate passes."""
        self.now += timedelta(hours=1)
        for alarm in self.alarms.values():
            alarm.state, alarm.lacks, alarm.labels = "open", False, alarm.labels + 5
        self.refresh()
        for daemon, sensor in itertools.product((1, 2), SENSORS):
            before = self.ended_ticks
            while self.ended_ticks == before:
                self.tick(daemon, sensor)
            for sentence in self.said:
                self.answer(sentence)
        for run in [run for run in self.runs if run.will_retry]:
            self.retry(run)
        for run in list(self.runs):
            while run.status in BUSY:
                self.go_on(run)
        for candidate in self.judged():
            self.decided[candidate] = True
            self.conclude(candidate, approve=True)
        self.check()

    def answer(self, said: str) -> None:
        """What a person does who reads this and nothing else."""
        for run_id in set(
            re.findall(r"Run (run\d+) of \S+ ended as failure after \d+ \w+ and is not tried", said)
        ):
            # Nobody was quicker, and its records are still there.
            root = next((run.root for run in self.runs if run.run_id == run_id), "")
            if root and self._training(root, runs := self.groups()[root]).state == "failed":
                self.retry(runs[0], by_hand=True)
        lost = re.search(r"candidate (\S+) is open .*No run of it is on record", said)
        if lost and not any(run.trains and run.asked.candidate == lost[1] for run in self.runs):
            self.launch(self.requests[lost[1]])
            self.runs[-1].trains = True


@pytest.mark.parametrize("seed", range(20))
def test_in_10_000_random_ticks_each_alarm_is_retrained_for_once_at_a_time_and_in_the_end(seed):
    plant = Plant(seed)
    while plant.ended_ticks < 500:
        plant.anything()
        plant.check()
    plant.raise_alarm()
    before, hours = plant.automatic(), 0
    while any(alarm.number == plant.in_force[0] for alarm in plant.alarms.values()):
        plant.as_it_should_be()
        hours += 1
        assert hours < 100, f"an alarm stays open for ever: {plant.said}"
    # What was under way, or one more, ended all of them.
    assert len(plant.automatic()) <= len(before) + 1
