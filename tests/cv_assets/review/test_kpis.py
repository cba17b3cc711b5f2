"""KPIs of a release over its newest deliveries: what is known of them, and what is not said while too little is."""

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_labels import demo_spec, frame
from make_replay import released
from make_review import NOON, capture, inspections, verdict

from cv_assets.review.kpis import NEEDED, kpis, newest
from cv_assets.review.schema import Kpis
from cv_assets.spec import drift
from cv_assets.spec.drift import KPIS

PASS, REVIEW, FAIL = "below_lower", "low_confidence", "above_upper"
SPEC = demo_spec()
TRUTH = pl.Schema({"frame_id": pl.String, "truth": pl.String, "answered_at": pl.Datetime("us", "UTC")})


def settings_of(**changed):
    given = {"window": 10, "min_samples": 1, "min_answered": 0.5, "bounds": (), **changed}
    return SPEC.model_copy(update={"kpis": drift.Kpis(**given)})


def captures(delivery, day, *kinds, release="v1.0.0", number=1, **changed):
    """Verdicts of a delivery of that day with their truth, given as (how many, reason, drawn, class or None)."""
    rows, truth = [], []
    for many, reason, drawn, said in kinds:
        for _ in range(many):
            name = f"{delivery}-{len(rows)}"
            captured = capture(name, delivery=delivery, minute=24 * 60 * day + len(rows))
            row = verdict(captured, reason, audit=drawn) | {"release": release, "release_number": number}
            rows.append(row | {"group": delivery} | changed)
            if said:
                truth.append((frame(name), said, row["captured_at"] + timedelta(hours=1)))
    return rows, truth


def measured(*deliveries, spec=None, drifted=(), releases=None):
    rows = [row for of, _ in deliveries for row in of]
    truth = [one for _, of in deliveries for one in of]
    found = kpis(
        inspections=inspections(*rows),
        truth=pl.DataFrame(truth, schema=TRUTH, orient="row"),
        drifted=drifted,
        releases=released("v1.0.0", "v1.1.0") if releases is None else releases,
        spec=spec or settings_of(),
    )
    assert Kpis.filter(found).failure.counts() == {}
    return found


def one(found, metric, until="d1"):
    (row,) = found.filter(metric=metric, until=until).iter_rows(named=True)
    return row


def test_kpis_are_what_one_counts_by_hand():
    # One automatic verdict in ten is drawn: a drawn one stands for ten.
    found = measured(
        captures(
            "d1",
            0,
            (3, PASS, True, "sound"), (1, PASS, True, "defective"), (36, PASS, False, None),
            (6, REVIEW, False, "sound"), (2, REVIEW, False, "defective"),
            (1, FAIL, True, "sound"), (3, FAIL, True, "defective"), (20, FAIL, False, None),
        )
    )  # fmt: skip
    values = dict(found.select("metric", "value").iter_rows())
    assert values == {
        "escape_rate": pytest.approx(10 / (10 + 2 + 30)),
        "overkill": pytest.approx(10 / (30 + 6 + 10)),
        "fail_precision": pytest.approx(30 / 40),
        "review_share": pytest.approx(8 / 72),
    }
    assert found["metric"].to_list() == list(KPIS)
    assert found.select("captures", "asked", "answered").unique().rows() == [(72, 16, 16)]
    assert dict(found.select("metric", "samples").iter_rows()) == {
        "escape_rate": 6, "overkill": 10, "fail_precision": 4, "review_share": 72,
    }  # fmt: skip
    assert one(found, "overkill")["why"].startswith("0.217 [")
    assert one(found, "overkill")["why"].endswith(
        " of the sound fail, by 10 captures of 1 group; the spec asks for nothing"
    )


def test_of_a_drifted_delivery_each_answer_stands_for_itself():
    ordinary = captures("d1", 0, (1, FAIL, True, "defective"), (9, FAIL, False, None))
    whole = captures("d2", 1, (10, FAIL, False, "sound"))
    found = measured(ordinary, whole, drifted={"d2"})
    assert one(found, "fail_precision", "d2")["value"] == pytest.approx(10 / 20)
    assert (one(found, "overkill", "d2")["asked"], one(found, "overkill", "d2")["answered"]) == (11, 11)


def test_a_window_is_about_the_newest_deliveries_of_one_release_as_they_were_captured():
    deliveries = [
        captures("c", 2, (10, REVIEW, False, None)),
        captures("a", 0, (10, PASS, False, None)),
        captures("b", 1, (10, PASS, False, None)),
        captures("e", 4, (5, PASS, False, None), release="v1.1.0", number=2),
        captures("d", 3, (10, PASS, False, None)),
    ]
    found = measured(*deliveries, spec=settings_of(window=2)).filter(metric="review_share")
    told = found.select("release_number", "until", "deliveries", "captures", "value").rows()
    assert told == [
        (1, "a", 1, 10, 0),
        (1, "b", 2, 20, 0),
        (1, "c", 2, 20, 0.5),
        (1, "d", 2, 20, 0.5),
        (2, "e", 1, 5, 0),
    ]
    assert found["captured_to"][1] == NOON + timedelta(days=1, minutes=9)
    assert newest(found, 1)["until"].to_list()[-1] == "d"


def test_the_newest_window_of_a_release_that_inspected_nothing_is_empty():
    found = measured(captures("a", 0, (10, PASS, True, "sound")))
    assert newest(found, 1).height == len(KPIS)
    assert newest(found, 2).is_empty()
    assert newest(found, None).is_empty()


def test_what_was_decided_before_any_release_is_no_release_s_doing():
    before = captures("a", 0, (10, "no_release", False, "sound"), release=None, number=None)
    assert measured(before).is_empty()
    assert measured(before).schema == Kpis.create_empty().schema


@pytest.mark.parametrize(
    ("reviewed", "failed", "judged", "said"),
    [
        (200, 1, "met", "at most 0.25 is asked for, and all of the interval meets it"),
        (40, 1, "undecided", "at most 0.25 is asked for, and the interval does not rule it out"),
        (40, 7, "broken", "at most 0.25 is asked for, and all of the interval breaks it"),
    ],
)
def test_a_kpi_is_broken_when_all_of_its_interval_lies_beyond_the_bound(reviewed, failed, judged, said):
    """Each delivery has so many sound parts that went to people, and so many that failed and were drawn."""
    bounded = settings_of(bounds=({"metric": "overkill", "at_most": 0.25},))
    kinds = (reviewed, REVIEW, False, "sound"), (failed, FAIL, True, "sound")
    row = one(measured(*(captures(f"d{n}", n, *kinds) for n in range(10)), spec=bounded), "overkill", "d9")
    assert (row["verdict"], row["bound"]) == (judged, 0.25)
    assert row["why"].endswith(said)


def test_a_kpi_that_should_be_great_is_broken_from_below():
    bounded = settings_of(bounds=({"metric": "fail_precision", "at_least": 0.8},))
    parts = [captures(f"d{n}", n, (1, FAIL, True, "defective"), (9, FAIL, True, "sound")) for n in range(10)]
    row = one(measured(*parts, spec=bounded), "fail_precision", "d9")
    assert (row["verdict"], row["bound"]) == ("broken", 0.8)
    assert row["why"].endswith(
        "of those that fail are defective, by 100 captures of 10 groups; at least 0.8 is asked "
        "for, and all of the interval breaks it"
    )


def test_few_answers_say_so_and_are_never_broken():
    bounded = settings_of(min_samples=30, bounds=({"metric": "overkill", "at_most": 0.25},))
    parts = [captures(f"d{n}", n, (3, FAIL, True, "sound")) for n in range(10)]
    found = measured(*parts, spec=bounded)
    row = one(found, "overkill", "d8")
    assert (row["verdict"], row["value"], row["low"], row["samples"]) == ("not_enough", None, None, 27)
    assert row["why"] == "27 answered sound captures in 9 deliveries, fewer than the 30 that are needed"
    assert one(found, "overkill", "d9")["verdict"] == "broken"


def test_while_too_little_of_what_was_asked_is_answered_nothing_is_said():
    half = captures("d1", 0, (35, FAIL, True, "sound"), (10, FAIL, True, None))
    found = measured(half, spec=settings_of(min_answered=0.8))
    assert one(found, "overkill")["verdict"] == "not_enough"
    assert one(found, "overkill")["why"] == (
        "35 of 45 captures that people were asked about are answered, fewer than the 80% that are needed"
    )
    # The load follows from the verdicts, whoever answers.
    assert one(found, "review_share")["verdict"] == "unbounded"
    enough = captures("d1", 0, (28, FAIL, True, "sound"), (7, FAIL, True, None))
    assert one(measured(enough, spec=settings_of(min_answered=0.8)), "overkill")["value"] == 1


def test_rejected_frames_that_nobody_can_label_silence_no_kpi():
    bounded = settings_of(min_samples=30, min_answered=0.8, bounds=({"metric": "overkill", "at_most": 0.1},))
    parts = [
        captures(
            f"d{n}", n,
            (80, PASS, False, None), (8, PASS, True, "sound"), (40, FAIL, False, None), (4, FAIL, True, "sound"),
            (10, REVIEW, False, "sound"), (12, "frame_rejected", False, None),
        )
        for n in range(10)
    ]  # fmt: skip
    row = one(measured(*parts, spec=bounded), "overkill", "d9")
    assert (row["verdict"], row["captures"], row["asked"], row["answered"]) == ("broken", 1540, 220, 220)
    # Nor are they taken to be like what was answered: 40 of 80 + 10 + 40 sound parts of a delivery fail.
    assert row["value"] == pytest.approx(40 / (80 + 10 + 40))


def test_a_rejected_frame_that_people_could_label_is_a_sample():
    found = measured(captures("d1", 0, (3, FAIL, True, "sound"), (2, "frame_rejected", False, "sound")))
    row = one(found, "overkill")
    assert (row["asked"], row["answered"], row["samples"]) == (3, 3, 5)
    assert row["value"] == pytest.approx(30 / 32)
    assert row["answered_at"] == NOON + timedelta(minutes=64)


def test_where_all_that_people_saw_was_rejected_the_other_verdicts_still_speak():
    kinds = (3, PASS, True, "sound"), (3, FAIL, True, "defective"), (4, "frame_rejected", False, None)
    found = measured(captures("d1", 0, *kinds))
    assert (one(found, "escape_rate")["value"], one(found, "review_share")["value"]) == (0, 0.4)


def test_where_everything_was_rejected_nothing_is_said():
    found = measured(captures("d1", 0, (4, "frame_rejected", False, None)))
    verdicts = dict(found.select("metric", "verdict").iter_rows())
    assert verdicts == dict.fromkeys(KPIS, "not_enough") | {"review_share": "unbounded"}


def test_where_nobody_answered_for_one_kind_of_verdict_nothing_is_said_of_it():
    found = measured(
        captures(
            "d1", 0, (9, REVIEW, False, "defective"), (1, FAIL, True, "defective"), (30, PASS, False, None)
        )
    )
    row = one(found, "escape_rate")
    assert (row["verdict"], row["why"]) == (
        "not_enough",
        "people answered for none of the captures that got PASS (30)",
    )
    assert one(found, "fail_precision")["value"] == 1


def test_where_all_pass_none_fails_whatever_people_answer_and_precision_is_no_figure():
    bounds = ({"metric": "overkill", "at_most": 0.25}, {"metric": "fail_precision", "at_least": 0.9})
    found = measured(
        captures("d1", 0, (50, PASS, False, None)), spec=settings_of(min_samples=30, bounds=bounds)
    )
    assert (one(found, "overkill")["verdict"], one(found, "overkill")["value"]) == ("met", 0)
    assert one(found, "overkill")["why"] == (
        "0.000 of the sound fail: no capture gets FAIL; at most 0.25 is asked for, and all of the interval meets it"
    )
    row = one(found, "fail_precision")
    assert (row["verdict"], row["value"], row["why"]) == ("not_enough", None, "no capture gets FAIL")
    few = measured(captures("d1", 0, (5, PASS, False, None)), spec=settings_of(min_samples=30, bounds=bounds))
    assert one(few, "overkill")["why"] == "5 captures in 1 delivery, fewer than the 30 that are needed"


def test_without_groups_the_delivery_is_the_group():
    parts = [captures(f"d{n}", n, (20, REVIEW, False, "sound"), group=None) for n in range(3)]
    assert one(measured(*parts), "review_share", "d2")["groups"] == 3


def test_a_label_that_is_no_class_of_the_spec_is_no_answer():
    found = measured(captures("d1", 0, (9, FAIL, True, "good"), (1, FAIL, True, "sound")))
    assert one(found, "overkill")["answered"] == 1


def test_where_another_class_passed_nothing_is_said_of_what_the_verdicts_did():
    history = released("v1.0.0").with_columns(pass_class=pl.lit("defective"))
    found = measured(captures("d1", 0, (40, FAIL, True, "sound")), releases=history)
    assert one(found, "overkill")["verdict"] == "not_enough"
    assert one(found, "overkill")["why"].startswith(
        "v1.0.0 was released with `defective` as the class that passes"
    )
    assert one(found, "review_share")["value"] == 0


def test_the_newest_answer_that_counts_is_told_and_none_for_what_needs_none():
    answered = captures("d1", 0, (2, FAIL, True, "sound"), (1, PASS, False, "sound"))
    found = measured(answered)
    assert one(found, "overkill")["answered_at"] == NOON + timedelta(minutes=61)
    assert one(found, "review_share")["answered_at"] is None


CAPTURES = st.lists(
    st.tuples(
        st.integers(0, 4),  # delivery
        st.sampled_from([PASS, REVIEW, FAIL, "frame_rejected"]),
        st.booleans(),
        st.sampled_from(["sound", "defective", None]),
        st.sampled_from(["m1", "m2", None]),
        st.integers(0, 3),  # minute
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=40)
@given(CAPTURES, st.sets(st.sampled_from(["d1", "d2"])), st.randoms(use_true_random=False))
def test_whatever_the_order_of_rows_the_table_is_the_same_and_follows_its_contract(
    given_captures, drifted, random
):
    rows, truth = [], []
    for number, (delivery, reason, drawn, said, group, minute) in enumerate(given_captures):
        captured = capture(f"c{number}", delivery=f"d{delivery}", minute=minute)
        by = (
            {"release": "v1.0.0", "release_number": 1}
            if delivery < 3
            else {"release": "v1.1.0", "release_number": 2}
        )
        rows.append(verdict(captured, reason, audit=drawn) | by | {"group": group})
        if said:
            truth.append((captured["frame_id"], said, captured["captured_at"]))

    def table():
        return kpis(
            inspections=inspections(*rows).select(NEEDED),
            truth=pl.DataFrame(truth, schema=TRUTH, orient="row"),
            drifted=drifted,
            releases=released("v1.0.0", "v1.1.0"),
            spec=settings_of(window=3, min_samples=3, bounds=({"metric": "overkill", "at_most": 0.1},)),
        )

    found = table()
    assert Kpis.filter(found).failure.counts() == {}
    assert found.height == len(KPIS) * len({row["delivery"] for row in rows})
    assert not found.filter(pl.col("verdict") == "broken", pl.col("samples") < 3).height
    assert found.filter(pl.col("value").is_null())["verdict"].is_in(["not_enough"]).all()
    random.shuffle(rows)
    random.shuffle(truth)
    assert table().equals(found)
