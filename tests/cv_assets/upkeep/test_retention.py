from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.spec.retention import Retention
from cv_assets.upkeep.retention import HELD, NEEDED, VOLATILE, PlanError, approved, entries, in_words, plan
from cv_assets.upkeep.schema import LetGo, RetentionPlan
from resources.contracts import digest

NOW = datetime(2026, 6, 1, tzinfo=UTC)
NOTHING = pl.DataFrame(schema=NEEDED)
YEAR = Retention(frames_days=365)


def frame(name: str, delivery: str, days: float, kind: str = "raw frame", content: str = ""):
    """A frame that was taken in so many days ago; `content` tells bytes apart, by default its name does."""
    sha256 = (content or name).encode().hex().rjust(64, "0")
    folder = "raw_frames" if kind == "raw frame" else "prepared_frames"
    since = NOW - timedelta(days=days)
    return (f"{folder}/{delivery}/{sha256}.png", kind, delivery, name, sha256, 10, since, None)


def checkpoint(candidate: str, days: float):
    sha256 = candidate.encode().hex().rjust(64, "0")
    return (
        f"checkpoints/{sha256}",
        "checkpoint",
        candidate,
        None,
        sha256,
        10,
        NOW - timedelta(days=days),
        "c0ffee",
    )


def held(*rows):
    return pl.DataFrame(list(rows), schema=HELD, orient="row")


def needed(*rows):
    return pl.DataFrame(list(rows), schema=NEEDED, orient="row")


def outcomes(planned: pl.DataFrame) -> dict[str, str]:
    return dict(planned.select("belongs_to", "outcome").iter_rows())


def test_by_default_everything_is_kept_for_ever():
    everything = held(
        frame("f1", "d1", 9999), frame("f2", "d2", 9999, "prepared frame"), checkpoint("c1", 9999)
    )
    assert plan(everything, NOTHING, Retention(), NOW).is_empty()
    assert in_words(plan(everything, NOTHING, Retention(), NOW)) == "Nothing is past its date."


def test_a_frame_goes_on_its_date_and_not_before():
    planned = plan(held(frame("f1", "d1", 365), frame("f2", "d2", 364.99)), NOTHING, YEAR, NOW)
    assert outcomes(planned) == {"d1": "goes"}
    assert planned.select("rule", "why", "age_days", "due_at").row(0) == (
        "frames_days: 365",
        "past its date by frames_days: 365",
        365,
        NOW,
    )
    assert RetentionPlan.is_valid(planned)


def test_prepared_frames_have_a_date_of_their_own_or_that_of_the_raw_ones():
    both = held(frame("f1", "d1", 100), frame("f1", "d2", 100, "prepared frame", "p1"))
    assert outcomes(plan(both, NOTHING, Retention(frames_days=200, prepared_days=50), NOW)) == {"d2": "goes"}
    assert outcomes(plan(both, NOTHING, Retention(frames_days=50), NOW)) == {"d1": "goes", "d2": "goes"}


def test_checkpoints_of_refused_candidates_go_by_their_own_rule():
    planned = plan(held(checkpoint("c1", 40), checkpoint("c2", 10)), NOTHING, Retention(refused_days=30), NOW)
    assert planned.select("belongs_to", "outcome", "rule", "commit").rows() == [
        ("c1", "goes", "refused_days: 30", "c0ffee")
    ]


def test_what_is_needed_stays_and_the_first_reason_is_said():
    everything = held(frame("f1", "d1", 400), frame("f2", "d2", 400), frame("f3", "d3", 400))
    reasons = needed(
        ("frame_id", "f1", "a model is trained or judged by it"),
        ("frame_id", "f1", "people labelled it: it may train"),
        ("belongs_to", "d2", "the alarm drift-r1 is about its delivery"),
    )
    planned = plan(everything, reasons, YEAR, NOW)
    assert planned.select("outcome", "why").rows() == [
        ("stays", "a model is trained or judged by it"),
        ("stays", "the alarm drift-r1 is about its delivery"),
        ("goes", "past its date by frames_days: 365"),
    ]
    assert in_words(planned) == "1 raw frame would go (0.000 GB); past its date and needed: 2 objects."


def test_bytes_that_were_delivered_again_stay_until_the_last_of_them_may_go():
    twice = held(frame("f1", "d1", 400), frame("f1", "d2", 10))
    planned = plan(twice, NOTHING, YEAR, NOW)
    assert planned.select("outcome", "why").rows() == [
        ("stays", "the same bytes are there a second time, which is not past its date")
    ]
    old = held(frame("f1", "d1", 400), frame("f1", "d2", 390))
    alarm = needed(("belongs_to", "d2", "the alarm drift-r1 is about its delivery"))
    assert outcomes(plan(old, alarm, YEAR, NOW)) == {"d1": "stays", "d2": "stays"}
    assert outcomes(plan(old, NOTHING, YEAR, NOW)) == {"d1": "goes", "d2": "goes"}


def test_only_the_newest_plan_is_applied_and_only_while_the_world_is_as_it_was():
    two = held(frame("f1", "d1", 400), frame("f2", "d2", 400))
    planned = plan(two, NOTHING, YEAR, NOW)
    version = digest(planned, VOLATILE)
    assert approved(planned, plan(two, NOTHING, YEAR, NOW + timedelta(days=3)), version).height == 2
    with pytest.raises(PlanError, match=f"older is not the newest retention plan, which is {version}"):
        approved(planned, planned, "older")
    asked = needed(("frame_id", "f2", "a person is asked about it"))
    with pytest.raises(
        PlanError, match=r"1 object of the plan may not go any more, .*: a person is asked about it\."
    ):
        approved(planned, plan(two, asked, YEAR, NOW), version)
    with pytest.raises(PlanError, match="2 objects of the plan may not go any more"):
        approved(planned, plan(two, NOTHING, Retention(frames_days=500), NOW), version)


def test_what_is_let_go_is_added_to_what_was_before():
    first = plan(held(frame("f1", "d1", 400)), NOTHING, YEAR, NOW)
    said = {"version": "v", "commit": "abc", "spec_digest": "s", "at": NOW, "run_id": "r"}
    once = entries(first, LetGo.create_empty(), **said)
    twice = entries(plan(held(checkpoint("c1", 99)), NOTHING, Retention(refused_days=1), NOW), once, **said)
    assert twice.select("number", "belongs_to", "commit").rows() == [(1, "d1", "abc"), (2, "c1", "c0ffee")]
    assert LetGo.is_valid(twice)
    assert twice.head(1).equals(once)


NAMES = st.sampled_from("abcd")
FRAMES = st.lists(
    st.builds(
        frame,
        NAMES,
        st.sampled_from(["d1", "d2", "d3"]),
        st.integers(0, 20),
        st.sampled_from(["raw frame", "prepared frame"]),
    ),
    unique_by=lambda row: row[0],
)
REASONS = st.lists(
    st.one_of(
        st.tuples(st.just("frame_id"), NAMES, st.just("why")),
        st.tuples(st.just("belongs_to"), st.sampled_from(["d1", "d2", "d3"]), st.just("why")),
    ),
    max_size=3,
)
DAYS = st.one_of(st.none(), st.integers(1, 20))


def rules(frames: int | None, prepared: int | None) -> Retention:
    return Retention(frames_days=frames, prepared_days=prepared and min(prepared, frames or prepared))


RULES = st.builds(rules, DAYS, DAYS)


@given(FRAMES, REASONS, RULES)
def test_nothing_that_is_needed_ever_goes_nor_bytes_that_something_else_keeps(rows, reasons, retention):
    everything = held(*rows)
    goes = plan(everything, needed(*reasons), retention, NOW).filter(outcome="goes")
    protected = {(by, name) for by, name, _ in reasons}
    assert not protected & {("frame_id", name) for name in goes["frame_id"]}
    assert not protected & {("belongs_to", name) for name in goes["belongs_to"]}
    assert not {*goes["sha256"]} & {*everything.join(goes, on="path", how="anti")["sha256"]}


@given(FRAMES, REASONS, RULES, st.integers(0, 30))
def test_what_may_go_may_go_later_too(rows, reasons, retention, days):
    def goes(at: datetime) -> set[str]:
        return {*plan(held(*rows), needed(*reasons), retention, at).filter(outcome="goes")["path"]}

    assert goes(NOW) <= goes(NOW + timedelta(days=days))


@given(FRAMES, REASONS, RULES)
def test_a_plan_that_was_applied_leaves_nothing_to_apply(rows, reasons, retention):
    everything = held(*rows)
    first = plan(everything, needed(*reasons), retention, NOW)
    left = everything.join(first.filter(outcome="goes"), on="path", how="anti")
    again = plan(left, needed(*reasons), retention, NOW)
    assert again.filter(outcome="goes").is_empty()
    assert again.equals(first.filter(outcome="stays"))
