"""What people are asked follows from verdicts, labels and benchmark, and from nothing else."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_drift import metric_row, metrics
from make_labels import frame
from make_review import (
    benchmark,
    capture,
    inspections,
    label,
    labels,
    minutes,
    raw_frames,
    verdict,
    verified,
)

from cv_assets.review import queue
from cv_assets.review.asked import whole_deliveries
from cv_assets.review.schema import REASONS, ReviewQueue
from cv_assets.spec.inspection import Review

REVIEW = Review(due_hours=2)
NO_DRIFT = whole_deliveries(metrics(), patience=2, in_force=1)


def asked(verdicts=(), captures=(), voted=(), golden=(), measured=(), in_force=1):
    """The queue of these rows; the captures of the verdicts are known."""
    theirs = [capture(row["capture_id"]) | {"frame_id": row["frame_id"]} for row in verdicts]
    return queue.review_queue(
        inspections=inspections(*verdicts),
        raw_frames=raw_frames(*theirs, *captures),
        label_table=labels(*voted),
        benchmark_frames=benchmark(*golden),
        whole=whole_deliveries(metrics(*measured), patience=2, in_force=in_force),
        review=REVIEW,
    )


def one(items):
    assert ReviewQueue.filter(items).failure.counts() == {}
    (row,) = items.iter_rows(named=True)
    return row


@pytest.mark.parametrize("reason", ["frame_rejected", "no_release", "preparation_changed", "low_confidence"])
def test_every_verdict_review_is_asked_about_with_its_reason(reason):
    row = one(asked([verdict(capture("a"), reason, minute=5)]))
    assert (row["reason"], row["why"]) == (reason, f"because of {reason}")
    assert (row["probability"], row["state"], row["answered_by"]) == (1, "open", [])
    assert (row["part"], row["file_name"]) == ("part a", "a.png")
    assert (row["opened_at"], row["due_at"]) == (minutes(5), minutes(125))


def test_what_people_are_asked_about_does_not_depend_on_raw_frames_of_another_pattern():
    doubtful = verdict(capture("a"), "low_confidence")
    as_read_now = capture("another id", "a", file_name="a.png", path="moved")
    items = queue.review_queue(
        inspections=inspections(doubtful),
        raw_frames=raw_frames(as_read_now),
        label_table=labels(),
        benchmark_frames=benchmark(),
        whole=NO_DRIFT,
        review=REVIEW,
    )
    row = one(items)
    assert (row["capture_id"], row["path"]) == ("a", doubtful["raw_path"])
    assert row["file_name"] == f"{frame('a')}.png"


def test_what_passes_or_fails_by_itself_is_asked_about_only_when_drawn():
    drawn = verdict(capture("a"), "below_lower", audit=True)
    row = one(asked([drawn, verdict(capture("b"), "below_lower"), verdict(capture("c"), "above_upper")]))
    assert (row["capture_id"], row["reason"], row["probability"]) == ("a", "random_audit", 0.1)
    assert (
        row["why"]
        == "drawn at random, as 10.0% of the automatic verdicts are; it was PASS: because of below_lower"
    )
    assert (row["verdict"], row["release"], row["defect_score"]) == ("PASS", "v1.0.0", 0.5)


def test_a_verdict_review_that_was_drawn_too_keeps_its_own_reason():
    row = one(asked([verdict(capture("a"), "low_confidence", audit=True)]))
    assert (row["reason"], row["probability"]) == ("low_confidence", 1)


def test_a_frame_of_several_captures_is_one_item_with_the_first_reason_then_the_earliest_capture():
    row = one(
        asked(
            [
                verdict(capture("a", "f"), "below_lower", audit=True, minute=1),
                verdict(capture("c", "f"), "low_confidence", minute=3),
                verdict(capture("b", "f"), "low_confidence", minute=2),
            ]
        )
    )
    assert (row["capture_id"], row["reason"], row["opened_at"]) == ("b", "low_confidence", minutes(2))


DRIFT = (
    metric_row("d1", hour=0),
    metric_row("d2", "drifted", hour=1),
    metric_row("d3", "drifted", hour=2),  # measured at hour 3
)


def test_every_capture_of_a_drifted_delivery_is_asked_about():
    verdicts = [
        verdict(capture("a", delivery="d1"), "below_lower", minute=1),
        verdict(capture("b", delivery="d2"), "below_lower", minute=61),
        verdict(capture("c", delivery="d3"), "above_upper", minute=121),
    ]
    items = asked(verdicts, measured=DRIFT)
    assert ReviewQueue.filter(items).failure.counts() == {}
    assert items.select("capture_id", "reason", "probability", "state").rows() == [
        ("b", "drifted", 1, "open"),
        ("c", "drifted", 1, "open"),
    ]
    assert items["why"].to_list() == [
        "its delivery looks unlike what v1.0.0 was trained on, and so does d3 after it; it was PASS: because of "
        "below_lower",
        "its delivery looks unlike what v1.0.0 was trained on, as d2 before it; it was FAIL: because of above_upper",
    ]
    # They came up when the drift was known: the time to answer begins then.
    assert items["opened_at"].to_list() == [minutes(180), minutes(180)]
    assert items["due_at"][0] == minutes(300)


def test_a_delivery_that_drifts_alone_is_a_warning_and_asks_nobody():
    alone = [verdict(capture("b", delivery="d2"), "below_lower")]
    assert asked(alone, measured=DRIFT[:2]).is_empty()


def test_what_was_asked_about_before_the_drift_was_known_keeps_its_due_time_and_its_answer():
    doubtful = verdict(capture("a", delivery="d2"), "low_confidence", minute=11)
    drawn = verdict(capture("b", delivery="d2"), "below_lower", audit=True, minute=12)
    known = [label("a", "ann", "bob", agreed="sound", minute=15)]
    rows = list(asked([doubtful, drawn], voted=known, measured=DRIFT).iter_rows(named=True))
    assert [(row["reason"], row["probability"]) for row in rows] == [("drifted", 1), ("drifted", 1)]
    assert [row["opened_at"] for row in rows] == [minutes(11), minutes(12)]
    assert [(row["state"], row["answer"]) for row in rows] == [("answered", "sound"), ("open", None)]


def test_what_only_a_drift_asked_for_and_nobody_answered_leaves_with_the_release_that_judged_it():
    verdicts = [
        verdict(capture("a", delivery="d2"), "below_lower"),
        verdict(capture("b", delivery="d2"), "below_lower"),
        verdict(capture("c", delivery="d2"), "low_confidence", minute=11),
        verdict(capture("d", delivery="d3"), "above_upper", audit=True, minute=12),
        verdict(capture("e", delivery="d3"), "above_upper"),
    ]
    said = [label("b", "ann", "bob", agreed="sound"), label("e", "ann")]
    before = asked(verdicts, voted=said, measured=DRIFT)
    assert set(before["reason"]) == {"drifted"}
    assert sorted(before["capture_id"]) == ["a", "b", "c", "d", "e"]
    after = asked(verdicts, voted=said, measured=DRIFT, in_force=2)
    told = after.sort("capture_id").select("capture_id", "reason", "state", "probability")
    assert told.rows() == [
        ("b", "drifted", "answered", 1),
        ("c", "low_confidence", "open", 1),
        # It was to be asked about for sure, and the KPIs of its release weigh it so.
        ("d", "random_audit", "open", 1),
        ("e", "unsure_label", "unresolved", 1),
    ]
    due = {row["capture_id"]: row["opened_at"] for row in after.iter_rows(named=True)}
    assert (due["c"], due["d"]) == (minutes(11), minutes(12))


def test_votes_that_do_not_decide_are_asked_about_also_without_a_verdict():
    row = one(
        asked(
            captures=[capture("a", minute=3), capture("b", "a", minute=2)],
            voted=[label("a", "ann", minute=9)],
        )
    )
    assert (row["reason"], row["probability"], row["state"]) == ("unsure_label", 1, "unresolved")
    assert row["why"] == "1 vote so far, too few to decide"
    assert (row["capture_id"], row["verdict"], row["opened_at"]) == ("b", None, minutes(9))
    assert (row["answered_by"], row["answered_at"]) == (["ann"], minutes(9))


def test_a_dispute_of_an_automatic_verdict_names_the_verdict():
    passed = verdict(capture("a"), "below_lower")
    row = one(asked([passed], [capture("earlier", "a", minute=-5)], [label("a", "ann")]))
    assert (row["reason"], row["capture_id"], row["verdict"]) == ("unsure_label", "a", "PASS")


@pytest.mark.parametrize(
    ("resolution", "votes", "agreement", "said"),
    [
        ("too_few_votes", 2, 1.0, "2 votes so far, too few to decide"),
        ("unsure", 3, 2 / 3, "somebody is not sure, of 3 votes"),
        ("disagreed", 4, 0.5, "4 votes do not agree: 50% are for the leading class"),
    ],
)
def test_votes_that_do_not_decide_are_explained(resolution, votes, agreement, said):
    undecided = label("a", "ann") | {"resolution": resolution, "votes": votes, "agreement": agreement}
    assert one(asked(captures=[capture("a")], voted=[undecided]))["why"] == said


def test_an_item_is_open_then_unresolved_then_answered_and_keeps_its_place():
    doubtful = [verdict(capture("a"), "low_confidence", minute=1)]
    opened, unresolved, answered = (
        one(asked(doubtful, voted=voted))
        for voted in ([], [label("a", "ann", minute=5)], [label("a", "ann", "bob", agreed="sound", minute=9)])
    )
    assert [row["state"] for row in (opened, unresolved, answered)] == ["open", "unresolved", "answered"]
    assert (unresolved["answer"], unresolved["answered_by"]) == (None, ["ann"])
    assert (answered["answer"], answered["answered_by"]) == ("sound", ["ann", "bob"])
    assert answered["annotations"] == ["tool/project/ann@a/1", "tool/project/bob@a/1"]
    assert answered["answered_at"] == minutes(9)
    answers = ("state", "answer", "answered_by", "answered_at", "annotations")
    assert all(opened[name] == answered[name] for name in opened if name not in answers)


def test_what_a_person_verified_for_the_benchmark_answers_above_all_votes():
    row = one(
        asked(
            [verdict(capture("a"), "low_confidence")],
            voted=[label("a", "ann")],
            golden=[verified("a", "sound")],
        )
    )
    assert (row["state"], row["answer"], row["answered_by"]) == ("answered", "sound", ["quality.lead"])
    assert row["annotations"] == ["tool/golden/lead@a/1"]


def test_without_verdicts_and_labels_nobody_is_asked():
    assert asked().is_empty()
    assert asked().schema == ReviewQueue.create_empty().schema
    assert asked(captures=[capture("a")], voted=[label("a", "ann", agreed="sound")]).is_empty()


def test_what_has_no_item_although_it_needs_one_is_named():
    verdicts = inspections(verdict(capture("a"), "no_release"), verdict(capture("b"), "below_lower"))
    missing = queue.forgotten(ReviewQueue.create_empty(), verdicts, labels(label("c", "ann")), set())
    assert missing.rows() == [(frame("a"), "part a got REVIEW"), (frame("c"), "its votes do not decide")]
    drifted = queue.forgotten(ReviewQueue.create_empty(), verdicts, labels(), {"d1"})
    assert drifted["because"].to_list() == [
        "part a got REVIEW, in a drifted delivery",
        "part b got PASS, in a drifted delivery",
    ]


NAMES = st.sampled_from("abcde")
VERDICTS = st.lists(
    st.tuples(
        NAMES,
        st.sampled_from(["below_lower", "above_upper", "low_confidence", "frame_rejected", "no_release"]),
        st.booleans(),
        st.integers(0, 3),
    ),
    max_size=8,
)
LABELS = st.dictionaries(NAMES, st.sampled_from([None, "sound", "defective"]), max_size=5)


@given(
    VERDICTS,
    LABELS,
    st.sets(NAMES, max_size=2),
    st.booleans(),
    st.sampled_from([1, 2]),
    st.randoms(use_true_random=False),
)
def test_whatever_the_tables_hold_each_frame_that_needs_a_person_is_there_once(
    given_verdicts, voted, golden, second_drifts, in_force, random
):
    captures = [
        capture(f"{name}{n}", name, minute=n % 3, delivery=f"d{n % 4}")
        for n, (name, *_) in enumerate(given_verdicts)
    ]
    captures += [capture(name, minute=1) for name in "abcde"]
    measured = [metric_row("d1", "drifted", hour=1), metric_row("d2", "drifted", hour=2)] * second_drifts
    whole = whole_deliveries(metrics(*measured), patience=2, in_force=in_force)
    rows = [
        verdict(captured, reason, audit=audit, minute=minute)
        for captured, (_, reason, audit, minute) in zip(captures, given_verdicts, strict=False)
    ]
    tables = {
        "inspections": inspections(*rows),
        "raw_frames": raw_frames(*captures),
        "label_table": labels(*(label(name, "ann", agreed=answer) for name, answer in voted.items())),
        "benchmark_frames": benchmark(*(verified(name, "sound") for name in golden)),
    }
    items = queue.review_queue(**tables, whole=whole, review=REVIEW)
    assert ReviewQueue.filter(items).failure.counts() == {}

    in_review = {row["frame_id"] for row in rows if row["verdict"] == "REVIEW"}
    audited = {row["frame_id"] for row in rows if row["audit"]}
    undecided = {frame(name) for name, answer in voted.items() if answer is None}
    assert items["frame_id"].n_unique() == items.height
    known = {frame(name) for name, answer in voted.items() if answer} | {frame(name) for name in golden}
    of_drift = [row for row in rows if second_drifts and row["delivery"] in ("d1", "d2")]
    drifting, in_drift = ({row[name] for row in of_drift} for name in ("capture_id", "frame_id"))
    drifted = in_drift if in_force == 1 else in_drift & known
    assert set(items["frame_id"]) == in_review | audited | undecided | drifted
    assert set(items.filter(reason="drifted")["frame_id"]) == drifted
    forgotten = queue.forgotten(
        items, tables["inspections"], tables["label_table"], whole.filter("still_asked")["delivery"]
    )
    assert forgotten.is_empty()

    assert set(items.filter(state="answered")["frame_id"]) == set(items["frame_id"]) & known
    assert set(queue.waiting(items)["frame_id"]) == set(items["frame_id"]) - known
    for row in items.iter_rows(named=True):
        reasons = {one["reason"] for one in rows if one["frame_id"] == row["frame_id"]}
        above = REASONS[: REASONS.index(row["reason"])]
        assert not reasons.intersection(above)
        assert row["due_at"] - row["opened_at"] == timedelta(hours=2)
        drawn, drifts = row["reason"] == "random_audit", row["capture_id"] in drifting
        assert row["probability"] == (0.1 if drawn and not drifts else 1)

    shuffled = {
        name: table.sample(fraction=1, shuffle=True, seed=random.randrange(1000))
        for name, table in tables.items()
    }
    assert queue.review_queue(**shuffled, whole=whole, review=REVIEW).equals(items)


def test_of_frames_and_verdicts_only_the_named_columns_are_read():
    tables = {"label_table": labels(label("b", "ann")), "benchmark_frames": benchmark(), "review": REVIEW}
    tables["whole"] = NO_DRIFT
    rows, verdicts = raw_frames(capture("a"), capture("b")), inspections(verdict(capture("a"), "no_release"))
    short = queue.review_queue(
        raw_frames=rows.select(queue.RAW_FACTS), inspections=verdicts.select(queue.VERDICT_FACTS), **tables
    )
    assert short.equals(queue.review_queue(raw_frames=rows, inspections=verdicts, **tables))
    assert short.height == 2
