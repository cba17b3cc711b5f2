"""Whether an alarm starts a retraining, and the sentence that says why not."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from cv_assets.requests.base import new_request, unseen_labels
from cv_assets.requests.policy import (
    Requested,
    Training,
    World,
    decide,
    gives_way,
    requested,
    scheduled,
)
from cv_assets.spec.drift import Retraining

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
RULES = Retraining(min_new_labels=200, cooldown_hours=24, max_retries=2)


def alarm(**changes):
    return {
        "alarm_id": "drift-r1", "kind": "drift", "state": "open", "why": "The novelty of d7 and d8 drifted.",
        "release": "v1.0.0", "release_number": 1, "station": None, "fresh_labels": 214, "lacking_conditions": [],
        "attempts": 0, "waiting": "Another such delivery: 1 of the 2 in a row that are an alarm.", "closed_by": None,
        **changes,
    }  # fmt: skip


def request(candidate="drift-r1-1", **changes):
    told = {
        "reason": "drift", "evidence": "drift-r1", "requested_by": "retrain_on_drift",
        "requested_at": NOON - timedelta(days=3), "open": False, "run": "run1", **changes,
    }  # fmt: skip
    return Requested(candidate, **told)


def training(state, candidate="drift-r1-1", **changes):
    return Training(candidate, **{"run": "run1", "newest": "run1", "state": state, "tries": 1, **changes})


def ask(*, requests=(), trainings=(), others=(), **changes):
    one = alarm(**changes)
    world = World([one, *others], requests, 1, "v1.0.0", trainings)
    return decide(one, world, RULES, NOON)


def test_an_alarm_with_enough_fresh_labels_starts_its_first_attempt():
    decision = ask()
    assert (decision.evidence, decision.candidate) == ("drift-r1", "drift-r1-1")
    assert decision.why == "drift-r1: The novelty of d7 and d8 drifted; 214 fresh labels are there."


@pytest.mark.parametrize(
    ("situation", "why"),
    [
        (
            {"kind": "station", "alarm_id": "rejected-line1-d3", "station": "line1"},
            "rejected-line1-d3: a person looks at station line1; no retraining mends a station.",
        ),
        (
            {"state": "warning"},
            "drift-r1: a warning, no alarm yet. Another such delivery: 1 of the 2 in a row that are an alarm.",
        ),
        ({"state": "closed", "closed_by": "drift-r1-1"}, "drift-r1: it is closed (drift-r1-1)."),
        (
            {"release": "v0.9.0", "release_number": 0},
            "drift-r1: it is about v0.9.0, and v1.0.0 is in force; the next run of `refresh` closes it.",
        ),
        (
            {"fresh_labels": 120, "lacking_conditions": ["product=poly"]},
            "drift-r1: waits for fresh labels: 120 of 200 are there; until the benchmark holds golden frames of "
            "product=poly.",
        ),
        (
            {"requests": [request("a", evidence="kpi-r1-overkill", requested_at=NOON - timedelta(hours=5))]},
            "drift-r1: waits until 2026-03-03 07:00 UTC: cooldown of 24 hours after a.",
        ),
        (
            {"requests": [request()]},
            "drift-r1: it does not know of candidate drift-r1-1 yet and waits for the next run of `refresh`.",
        ),
    ],
)
def test_each_thing_that_is_missing_is_said(situation, why):
    decision = ask(**situation)
    assert (decision.candidate, decision.why) == (None, why)


@pytest.mark.parametrize(
    ("changes", "trainings", "stands"),
    [
        ({}, [training("in flight")], "Run run1 of drift-r1-1 is in flight."),
        (
            {},
            [training("waiting", ended_as="failure")],
            "Run run1 of drift-r1-1 ended as failure after 1 try, and Dagster tries it again from the failed step.",
        ),
        (
            {},
            [training("failed", newest="run9", tries=3, ended_as="failure")],
            "Run run9 of drift-r1-1 ended as failure after 3 tries and is not tried again by itself: a person is "
            "called to read why there, mend it, and re-execute the run from failure.",
        ),
        (
            {"decided": True},
            [training("succeeded")],
            "It has its release decision and waits to be concluded (job `release`).",
        ),
        (
            {},
            [training("succeeded", run="run2", newest="run2"), training("in flight")],
            "Run run1 of drift-r1-1 is in flight.",
        ),
        (
            {},
            [training("succeeded")],
            "Its run run1 ended well without a release decision: materialize what is missing.",
        ),
        (
            {},
            [],
            "No run of it is on record: a person is called to materialize what follows training_request for it.",
        ),
    ],
)
def test_an_open_candidate_is_named_with_how_its_run_stands(changes, trainings, stands):
    decision = ask(requests=[request(open=True, **changes)], trainings=trainings)
    assert decision.candidate is None
    asked = "candidate drift-r1-1 is open (requested 2026-02-27 12:00 UTC by retrain_on_drift); one at a time"
    assert decision.why == f"drift-r1: {asked}. {stands}"


def test_a_persons_candidate_is_waited_for_too():
    decision = ask(
        requests=[request("mine", reason="person", evidence="wanted", requested_by="ada", open=True)]
    )
    assert "candidate mine is open (requested 2026-02-27 12:00 UTC by ada)" in decision.why


def test_a_run_whose_request_is_not_published_yet_is_waited_for():
    why = ask(trainings=[training("in flight", "kpi-r1-overkill-1")]).why
    assert why == "drift-r1: one training at a time. Run run1 of kpi-r1-overkill-1 is in flight."


def test_a_run_that_failed_before_its_request_calls_a_person_and_never_a_second_run():
    why = ask(trainings=[training("failed", tries=3, ended_as="failure")]).why
    assert why == (
        "drift-r1: Run run1 of drift-r1-1 ended as failure after 3 tries and is not tried again by itself: a person "
        "is called to read why there, mend it, and re-execute the run from failure."
    )


def test_a_run_that_gave_way_hides_no_other_one_of_its_name_that_failed():
    gave_way = training("succeeded", run="run2", newest="run2")
    assert "a person is called" in ask(trainings=[gave_way, training("failed", tries=3)]).why


def test_a_refused_candidate_is_followed_by_the_next_attempt_on_labels_that_it_has_not_seen():
    assert ask(requests=[request()], attempts=1).candidate == "drift-r1-2"
    assert ask(requests=[request()], attempts=1, fresh_labels=3).candidate is None


def test_a_name_that_a_run_left_when_it_gave_way_or_that_a_person_took_is_not_used_again():
    taken = request("drift-r1-2", reason="person", evidence="wanted")
    assert ask(trainings=[training("succeeded")]).candidate == "drift-r1-2"
    assert ask(trainings=[training("succeeded")], requests=[taken]).candidate == "drift-r1-3"


@pytest.mark.parametrize("kind", ["kpi", "schedule"])
def test_an_open_drift_alarm_of_the_same_release_goes_first(kind):
    drift, later = alarm(), {"kind": kind, "alarm_id": "later"}
    assert ask(**later, others=[drift]).why == "later: drift-r1 is open for the same release and goes first."
    assert ask(**later, others=[alarm(state="warning"), alarm(release_number=7)]).candidate == "later-1"


def test_a_candidate_of_another_base_or_spec_is_in_nobodys_way():
    rows = pl.concat(
        new_request(
            candidate=name, reason="drift", evidence="drift-r1", requested_by="retrain_on_drift", requested_at=NOON,
            base_commit="c", spec_digest=digest, benchmark_frames=pl.DataFrame({"version": [1]}), run="run1",
            releases=pl.DataFrame({"outcome": ["released"], "version": [version]}),
        )
        for name, version, digest in (
            ("concluded", "v1.1.0", "s"), ("base moved", "v1.0.0", "s"), ("spec changed", "v1.1.0", "old"),
            ("open", "v1.1.0", "s"),
        )
    )  # fmt: skip
    releases = history(
        ("released", "v1.0.0", "first"), ("released", "v1.1.0", "second"), ("refused", None, "concluded")
    )
    assert [one.candidate for one in requested(rows, releases, "s") if one.open] == ["open"]


def history(*ended, **changed):
    """Rows of releases that were concluded an hour after one another, the last one an hour before noon."""
    first = {"model": "cnn", "spec_digest": "s", **changed}
    return pl.DataFrame(
        [
            {
                **first, "number": number, "outcome": outcome, "version": version, "candidate": candidate,
                "concluded_at": NOON - timedelta(hours=len(ended) + 1 - number),
            }
            for number, (outcome, version, candidate) in enumerate(ended, 1)
        ]
    )  # fmt: skip


def published(*candidates, at=NOON, spec_digest="s"):
    """Rows of training_request, all made under v1.0.0."""
    told = ("drift", "drift-r1", "retrain_on_drift", at, spec_digest, "v1.0.0", "run1")
    columns = (
        "candidate", "reason", "evidence", "requested_by", "requested_at", "spec_digest", "released_version", "run",
    )  # fmt: skip
    return pl.DataFrame([(one, *told) for one in candidates], schema=columns, orient="row")


def test_a_roll_back_revives_no_candidate_that_was_requested_before_it():
    releases = history(
        ("released", "v1.0.0", "first"), ("released", "v1.1.0", "second"), ("rolled_back", "v1.0.0", "first")
    )
    asked = [
        requested(published("drift-r1-1", at=NOON + timedelta(hours=hour)), releases, "s")[0].open
        for hour in (-2.5, -1, 0)
    ]
    assert asked == [False, True, True]


def test_only_a_candidate_that_was_judged_or_still_may_be_spends_labels():
    def spends(releases, asked=None):
        (one,) = requested(published("c") if asked is None else asked, releases, "s")
        return one.spends_labels

    first, refused = ("released", "v1.0.0", "first"), ("refused", None, "c")
    assert spends(history(first))
    assert spends(history(first, refused))
    assert not spends(history(first, refused, model=None)), "declined: its training had failed"
    assert not spends(history(first), published("c", spec_digest="old")), "the spec changed"
    assert not spends(history(first, refused), published("c", spec_digest="old")), (
        "refused for the spec alone"
    )


def test_the_schedule_asks_like_an_alarm_once_per_time():
    world = World([], [], 1, "v1.0.0", [])
    asks = scheduled(NOON, 200, world)
    decision = decide(asks, world, RULES, NOON)
    assert decision.candidate == "schedule-20260302T1200-1"
    assert decision.why == (
        "schedule-20260302T1200: the schedule asks for 2026-03-02 12:00 UTC; 200 fresh labels are there."
    )
    again = World(
        [], [request("schedule-20260302T1200-1", evidence="schedule-20260302T1200")], 1, "v1.0.0", []
    )
    assert decide(asks, again, RULES, NOON).why == (
        "schedule-20260302T1200: schedule-20260302T1200-1 was requested for this time already."
    )


def test_the_schedule_waits_for_golden_frames_of_what_would_train_too():
    world = World([], [], 1, "v1.0.0", [])
    asks = scheduled(NOON, 200, world, ["product=poly"])
    assert decide(asks, world, RULES, NOON).why == (
        "schedule-20260302T1200: waits until the benchmark holds golden frames of product=poly."
    )


def test_before_the_first_release_a_person_asks():
    world = World([], [], None, None, [])
    assert "nothing is released yet" in decide(scheduled(NOON, 999, world), world, RULES, NOON).why


def asked_by(run, **changes):
    return request(run=run, requested_at=NOON, open=True, **changes)


def test_a_request_is_held_against_the_policy_again_when_it_would_be_published():
    one = alarm()
    free, taken = World([one], [], 1, "v1.0.0"), World([one], [request("mine", open=True)], 1, "v1.0.0")
    assert gives_way(asked_by("run1"), one, free, RULES) == ""
    assert gives_way(asked_by("run1"), one, taken, RULES) == (
        "drift-r1: candidate mine is open (requested 2026-02-27 12:00 UTC by retrain_on_drift); one at a time."
    )
    assert gives_way(asked_by("run1", reason="person"), None, taken, RULES) == ""
    assert "There is no alarm 'drift-r1'" in gives_way(asked_by("run1"), None, free, RULES)


def test_of_two_runs_for_one_candidate_the_second_gives_way_and_a_re_execution_goes_on():
    world = World([alarm()], [request(open=True)], 1, "v1.0.0")
    assert gives_way(asked_by("run1"), alarm(), world, RULES) == ""
    assert gives_way(asked_by("run2"), alarm(), world, RULES) == (
        "Run run1 requested drift-r1-1 before this one, and trains it."
    )


def test_labels_that_changed_are_fresh_and_the_benchmarks_never_are():
    def labels(**given):
        status = ["agreed" if one else "review" for one in given.values()]
        return pl.DataFrame({"frame_id": list(given), "label": list(given.values()), "status": status})

    seen, golden = labels(a="sound", b="sound", c=None), pl.DataFrame({"frame_id": ["d"]})
    now = labels(a="sound", b="defective", c="sound", d="sound", e=None)
    assert unseen_labels(now, seen, golden) == 2
