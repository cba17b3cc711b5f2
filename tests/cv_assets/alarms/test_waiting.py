"""What an alarm waits for, and what closes it."""

import pytest
from make_alarms import (
    FIRST,
    by_id,
    hours,
    kpi,
    label,
    measured,
    release,
    request,
    short,
    verdict,
    verified,
)

DRIFT = [measured(f"d{n}", "drifted", hour=n) for n in (1, 2)]
CELLS = [verdict(name, "d1" if name < "c" else "d2", hour=1 if name < "c" else 2) for name in "abcd"]
GOLDEN = [verdict("g", "d0", hour=-1, group="golden module")]
ORDINARY = [measured(f"d{n}", hour=n) for n in (3, 4)]
ASKED = request("drift-r1-1", "drift-r1", hour=10)


@pytest.fixture
def alarm(spec):
    """The drift alarm of v1.0.0, of which d1 and d2 with two cells each drifted; two labels retrain."""

    def row(*, captures=(*CELLS, *GOLDEN), releases=(FIRST,), metrics=(), policy=None, **more):
        rows = {"metrics": [*DRIFT, *metrics], "captures": captures, "releases": releases, **more}
        return by_id(short(spec, **(policy or {})), **rows)["drift-r1"]

    return row


def test_an_alarm_waits_for_fresh_labels_first(alarm):
    row = alarm(label_table=[label("a", hour=5)])
    assert (row["waits_for"], row["fresh_labels"], row["needed_labels"]) == ("fresh_labels", 1, 2)
    assert row["waiting"] == (
        "People: 1 of 2 fresh labels are there, 1 are missing: label the items of its deliveries (docs/review.md); "
        "golden frames are missing (0 of 1 for product=poly): have a named person verify some (docs/label_exports.md)."
    )


def test_then_it_waits_for_golden_frames_of_a_condition_that_is_new(alarm):
    row = alarm(label_table=[label("a", hour=5), label("c", hour=5)])
    assert (row["waits_for"], row["lacking_conditions"]) == ("benchmark", ["product=poly"])
    assert row["waiting"].startswith("People: golden frames are missing (0 of 1 for product=poly)")


def test_then_nothing_is_missing_and_the_sensor_asks(alarm):
    row = alarm(label_table=[label("a", hour=5), label("c", hour=5)], benchmark_frames=[verified("g")])
    assert (row["waits_for"], row["lacking_conditions"], row["cooldown_until"]) == ("ready", [], None)
    assert row["waiting"] == (
        "Nothing more: 2 fresh labels of 2 are there; the sensor retrain_on_drift requests a candidate at its next "
        "tick."
    )


def test_every_value_that_trains_needs_golden_frames_as_the_gate_asks_of_it(alarm):
    """Also one that the spec does not list, and one of deliveries that the alarm is not about."""
    thin = verdict("t", "d2", hour=2, attributes='{"product": "thinfilm"}')
    mono = verdict("m", "d-9", hour=-9, attributes='{"product": "mono"}')
    labels = [label(name, hour=5) for name in "acmt"]
    row = alarm(captures=(*CELLS, *GOLDEN, thin, mono), label_table=labels, benchmark_frames=[verified("g")])
    assert row["lacking_conditions"] == ["product=mono", "product=thinfilm"]
    assert "(0 of 1 for product=mono, 0 of 1 for product=thinfilm)" in row["waiting"]


def test_golden_frames_count_when_they_were_never_inspected_and_not_when_they_are_rejected(alarm):
    labels = {"label_table": [label("a", hour=5), label("c", hour=5)], "benchmark_frames": [verified("g")]}
    never = {**GOLDEN[0], "release_number": None}
    assert alarm(captures=(*CELLS, never), **labels)["waits_for"] == "ready"
    rejected = {**GOLDEN[0], "prepared_path": None}
    assert alarm(captures=(*CELLS, rejected), **labels)["lacking_conditions"] == ["product=poly"]


def test_what_does_not_train_needs_no_golden_frames(alarm):
    kept = verdict("k", "d2", hour=2, group="golden module", attributes='{"product": "thinfilm"}')
    labels = [label(name, hour=5) for name in "ack"]
    row = alarm(captures=(*CELLS, *GOLDEN, kept), label_table=labels, benchmark_frames=[verified("g")])
    assert row["lacking_conditions"] == []


def test_golden_frames_of_another_condition_or_set_do_not_help(alarm):
    labels = [label("a", hour=5), label("c", hour=5)]
    mono = {"captures": (*CELLS, {**GOLDEN[0], "attributes": '{"product": "mono"}'})}
    assert alarm(label_table=labels, benchmark_frames=[verified("g")], **mono)["waits_for"] == "benchmark"
    challenge = [verified("g", set_="challenge")]
    assert alarm(label_table=labels, benchmark_frames=challenge)["waits_for"] == "benchmark"


def test_its_candidate_is_waited_for_until_it_is_concluded(alarm):
    row = alarm(requests=[ASKED])
    assert (row["waits_for"], row["attempts"], row["state"]) == ("training", 1, "open")
    assert row["waiting"].startswith(
        "Candidate drift-r1-1, requested 2026-03-02 22:00 UTC by retrain_on_drift, is not concluded."
    )


def test_a_candidate_that_can_only_be_refused_is_not_waited_for(alarm):
    row = alarm(requests=[{**ASKED, "spec_digest": "an earlier one"}])
    assert row["waits_for"] == "fresh_labels"
    assert "Candidate drift-r1-1 can only be refused: it was requested under another" in row["waiting"]


@pytest.mark.parametrize("why", ["1 of 8 criteria are not met", "declined by quality.lead: wait for more"])
def test_a_refused_candidate_leaves_the_alarm_open_for_labels_that_it_has_not_seen(alarm, why):
    refused = {
        "requests": [ASKED],
        "releases": [FIRST, release(2, "", "drift-r1-1", hour=12, outcome="refused", why=why)],
        "seen": [("a", "sound"), ("c", "sound")],
        "benchmark_frames": [verified("g")],
    }
    labels = [label("a", hour=5), label("c", hour=5)]
    row = alarm(label_table=labels, **refused)
    assert (row["state"], row["waits_for"], row["fresh_labels"]) == ("open", "fresh_labels", 0)
    assert row["waiting"].startswith("People: 0 of 2 fresh labels"), "what to do comes first"
    assert f"Candidate drift-r1-1 was refused ({why}); the next one needs labels" in row["waiting"]
    row = alarm(label_table=[*labels, label("b", hour=5), label("d", hour=13)], **refused)
    assert (row["waits_for"], row["fresh_labels"], row["attempts"]) == ("cooldown", 2, 1)


def test_a_candidate_that_nobody_judged_spends_no_labels(alarm):
    declined = {
        **release(2, "", "drift-r1-1", hour=12, outcome="refused", why="declined by ada"),
        "model": None,
    }
    ended = {
        "requests": [ASKED],
        "seen": [("a", "sound"), ("c", "sound")],
        "benchmark_frames": [verified("g")],
        "label_table": [label("a", hour=5), label("c", hour=5)],
    }
    row = alarm(releases=[FIRST, declined], **ended)
    assert (row["fresh_labels"], row["waits_for"], row["attempts"]) == (2, "cooldown", 1)
    assert row["waiting"].endswith(
        "Candidate drift-r1-1 was refused (declined by ada); nobody judged it, so the labels that only it has seen are "
        "fresh still."
    )
    stale = alarm(**{**ended, "requests": [{**ASKED, "spec_digest": "an earlier one"}]})
    assert (stale["fresh_labels"], stale["waits_for"]) == (2, "cooldown")


def test_of_two_candidates_the_one_that_was_judged_spends_its_labels(alarm):
    judged = release(2, "", "drift-r1-1", hour=12, outcome="refused")
    declined = {**release(3, "", "drift-r1-2", hour=20, outcome="refused"), "model": None}
    row = alarm(
        requests=[ASKED, request("drift-r1-2", "drift-r1", hour=15)],
        releases=[FIRST, judged, declined],
        seen={"drift-r1-1": [("a", "sound")], "drift-r1-2": [("a", "sound"), ("c", "sound")]},
        label_table=[label("a", hour=5), label("c", hour=13)],
    )
    assert row["fresh_labels"] == 1


def test_a_roll_back_to_its_release_does_not_revive_a_candidate_of_before(spec):
    back = [*DRIFT, *(measured(f"e{n}", "drifted", hour=n, release_number=3) for n in (41, 42))]
    releases = [
        FIRST,
        release(2, "v1.1.0", "by-hand", hour=20),
        release(3, "v1.0.0", "first", hour=40, outcome="rolled_back"),
    ]
    row = by_id(spec, metrics=back, releases=releases, requests=[ASKED])["drift-r3"]
    assert (row["state"], row["waits_for"]) == ("open", "fresh_labels")


def test_a_label_that_changed_since_the_training_is_fresh_again(alarm):
    row = alarm(
        label_table=[label("a", hour=11, agreed="defective"), label("c", hour=5)],
        requests=[ASKED],
        releases=[FIRST, release(2, "", "drift-r1-1", hour=12, outcome="refused")],
        seen=[("a", "sound"), ("c", "sound")],
    )
    assert row["fresh_labels"] == 1


def test_a_cooldown_is_waited_for_until_the_tables_know_a_later_time(alarm):
    enough = {
        "label_table": [label("a", hour=5), label("c", hour=5)],
        "benchmark_frames": [verified("g")],
        "requests": [request("kpi-r1-overkill-1", "kpi-r1-overkill", hour=0, reason="kpi")],
    }
    concluded = [FIRST, release(2, "", "kpi-r1-overkill-1", hour=1, outcome="refused")]
    row = alarm(releases=concluded, **enough)
    assert (row["waits_for"], row["cooldown_until"]) == ("cooldown", hours(24))
    assert row["waiting"] == (
        "Time: 2 fresh labels of 2 are there, and 24 hours lie between two retrainings that nobody asked for. After "
        "2026-03-03 12:00 UTC the sensor retrain_on_drift requests a candidate at its next tick."
    )
    later = [measured("d9", "drifted", hour=30)]
    assert alarm(releases=concluded, metrics=later, **enough)["waits_for"] == "ready"


def test_what_a_person_asked_for_starts_no_cooldown(alarm):
    row = alarm(requests=[request("mine", "I want it", hour=0, reason="person")])
    assert (row["cooldown_until"], row["attempts"], row["waits_for"]) == (None, 0, "training")
    assert row["waiting"] == "Candidate mine, which is not concluded: one training at a time."


def test_the_release_of_its_candidate_closes_it(alarm):
    row = alarm(requests=[ASKED], releases=[FIRST, release(2, "v1.1.0", "drift-r1-1", hour=12)])
    assert (row["state"], row["closed_by"], row["closed_at"]) == ("closed", "drift-r1-1", hours(12))
    assert (row["waits_for"], row["waiting"]) == ("nothing", "Nothing: it is over.")
    assert (row["fresh_labels"], row["lacking_conditions"], row["cooldown_until"]) == (0, [], None)


def test_another_release_closes_all_alarms_of_the_one_before(spec):
    rows = by_id(
        spec,
        metrics=DRIFT,
        captures=CELLS,
        kpis=[kpi("d2", "broken", hour=2)],
        releases=[FIRST, release(2, "v1.1.0", "by-hand", hour=12)],
        requests=[ASKED],
    )
    assert {name: (row["state"], row["closed_by"]) for name, row in rows.items()} == {
        "drift-r1": ("closed", "by-hand"),
        "kpi-r1-overkill": ("closed", "by-hand"),
    }


def test_a_roll_back_closes_it_in_words_and_the_old_release_stays_closed(spec):
    second = {"release": "v1.1.0", "release_number": 2}
    metrics = [*DRIFT, *(measured(f"e{n}", "drifted", hour=n, **second) for n in (13, 14))]
    rows = by_id(
        spec,
        metrics=metrics,
        releases=[
            FIRST,
            release(2, "v1.1.0", "drift-r1-1", hour=12),
            release(3, "v1.0.0", "first", hour=16, outcome="rolled_back", why="it overkills"),
        ],
        requests=[ASKED],
    )
    assert rows["drift-r1"]["closed_by"] == "drift-r1-1"
    assert rows["drift-r2"]["closed_by"] == "quality.lead rolled back to v1.0.0: it overkills"


def test_an_alarm_confirmed_after_its_release_was_replaced_is_closed_at_once(alarm):
    row = alarm(releases=[FIRST, release(2, "v1.1.0", "by-hand", hour=2.5)])
    assert (row["state"], row["opened_at"], row["closed_at"]) == ("closed", hours(3), hours(3))


def test_an_alarm_that_ended_stays_open_for_its_candidate(alarm):
    row = alarm(metrics=ORDINARY, requests=[ASKED])
    assert (row["state"], row["waits_for"], row["closed_by"]) == ("open", "training", None)
    assert "It ended by itself: 2 ordinary deliveries in a row (d3 and d4)." in row["waiting"]
    refused = [FIRST, release(2, "", "drift-r1-1", hour=12, outcome="refused")]
    row = alarm(metrics=ORDINARY, requests=[ASKED], releases=refused)
    assert (row["state"], row["closed_at"]) == ("closed", hours(5))
    row = alarm(
        metrics=ORDINARY, requests=[ASKED], releases=[FIRST, release(2, "v1.1.0", "drift-r1-1", hour=12)]
    )
    assert (row["state"], row["closed_by"]) == ("closed", "drift-r1-1")


def test_a_new_warning_does_not_hide_a_candidate_that_is_not_concluded(alarm):
    again = [*ORDINARY, measured("d5", "drifted", hour=5)]
    row = alarm(metrics=again, requests=[ASKED])
    assert (row["state"], row["waits_for"], row["deliveries"]) == ("open", "training", ["d1", "d2"])


def test_a_release_that_was_replaced_warns_no_more(spec):
    rows = by_id(spec, metrics=DRIFT[:1], releases=[FIRST, release(2, "v1.1.0", "by-hand", hour=12)])
    assert rows == {}


def test_an_alarm_that_a_candidate_names_never_vanishes(spec):
    asked = [ASKED, request("kpi-r1-overkill-1", "kpi-r1-overkill", hour=11, reason="kpi")]
    rows = by_id(spec, releases=[FIRST], requests=asked)
    assert {name: (row["state"], row["waits_for"], row["statistic"]) for name, row in rows.items()} == {
        "drift-r1": ("open", "training", "novelty"),
        "kpi-r1-overkill": ("open", "training", "overkill"),
    }
    refused = [FIRST, release(2, "", "drift-r1-1", hour=12, outcome="refused")]
    row = by_id(spec, releases=refused, requests=asked)["drift-r1"]
    assert row["state"] == "closed"
    assert row["why"] == "Candidate drift-r1-1 was requested for it; no delivery shows it any more."
    assert row["closed_by"].startswith("what it was about is measured otherwise now")


def test_an_alarm_that_a_candidate_names_never_falls_back_to_a_warning(spec):
    def row(*releases):
        return by_id(spec, metrics=DRIFT[1:], requests=[ASKED], releases=[FIRST, *releases])["drift-r1"]

    pending = row()
    assert (pending["state"], pending["waits_for"], pending["deliveries"]) == ("open", "training", ["d2"])
    assert pending["why"].startswith(
        "Candidate drift-r1-1 was requested for it; by now it would be a warning: Novelty drifted in 1 delivery (d2)"
    )
    over = row(release(2, "", "drift-r1-1", hour=12, outcome="refused"))
    assert (over["state"], over["waits_for"]) == ("closed", "nothing")
    assert over["closed_by"].startswith("what it was about is measured otherwise now")


def test_after_its_refusal_an_alarm_that_ended_stays_closed_until_the_next_one_is_confirmed(alarm):
    refused = {
        "requests": [ASKED],
        "releases": [FIRST, release(2, "", "drift-r1-1", hour=12, outcome="refused")],
    }
    again = [*ORDINARY, measured("d5", "drifted", hour=5)]
    assert alarm(metrics=again, **refused)["state"] == "closed"
    row = alarm(metrics=[*again, measured("d6", "drifted", hour=6)], **refused)
    assert (row["state"], row["deliveries"]) == ("open", ["d5", "d6"])


def test_evidence_that_is_no_name_of_an_alarm_is_none(spec):
    odd = [
        request(f"c{n}", says, hour=n)
        for n, says in enumerate(["I saw drift", "kpi-r1", "drift-r1-x", "drift-rX"])
    ]
    assert by_id(spec, requests=odd) == {}


def test_a_kpi_alarm_says_that_the_drift_alarm_of_its_release_goes_first(spec):
    rows = by_id(spec, metrics=DRIFT, captures=CELLS, kpis=[kpi("d2", "broken", hour=2)], releases=[FIRST])
    assert rows["kpi-r1-overkill"]["waits_for"] == "drift_alarm"
    assert rows["kpi-r1-overkill"]["waiting"].startswith(
        "drift-r1, which is open for the same release, goes first. After that: People: "
    )
    assert rows["drift-r1"]["waiting"].startswith("People: ")
