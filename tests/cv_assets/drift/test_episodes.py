import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.drift.episodes import NEEDED, SLOW_LIMIT, Episode, cumulative, drifted_deliveries, episodes
from cv_assets.drift.schema import DriftMetrics

_DAY = datetime(2026, 3, 1, 6, tzinfo=UTC)
_COLUMNS = {name: DriftMetrics.create_empty().schema[name] for name in NEEDED}


def _metric(delivery: str, day: int, verdict: str, **changed: object) -> dict[str, object]:
    """A row about the novelty of a delivery captured on that day, and measured an hour later."""
    captured = _DAY + timedelta(days=day)
    return {
        "delivery": delivery,
        "statistic": "novelty",
        "role": "alarms",
        "station": "el1",
        "captured_from": captured,
        "release": "v1.0.0",
        "release_number": 1,
        "rank": {"drifted": 1.0, "ok": 0.5}.get(verdict),
        "verdict": verdict,
        "measured_at": captured + timedelta(hours=1),
        **changed,
    }


def _metrics(*rows: dict[str, object]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=_COLUMNS)


def _days(*verdicts: str, **changed: object) -> pl.DataFrame:
    """One delivery a day: d0, d1 and so on."""
    return _metrics(*(_metric(f"d{day}", day, verdict, **changed) for day, verdict in enumerate(verdicts)))


def _ranks(*ranks: float | None, **changed: object) -> pl.DataFrame:
    """Deliveries inside their level, however unusual they are."""
    return _metrics(
        *(_metric(f"d{day}", day, "ok", **{"rank": rank, **changed}) for day, rank in enumerate(ranks))
    )


def _seen(metrics: pl.DataFrame, patience: int = 2) -> list[tuple[tuple[str, ...], bool, bool]]:
    return [(one.deliveries, one.confirmed, one.standing) for one in episodes(metrics, patience)]


def test_patience_deliveries_in_a_row_confirm_a_drift():
    (episode,) = episodes(_days("ok", "drifted", "drifted", "ok", "ok"), patience=2)
    assert episode == Episode(
        statistic="novelty",
        role="alarms",
        station="el1",
        release="v1.0.0",
        release_number=1,
        deliveries=("d1", "d2"),
        confirmed=True,
        confirmed_at=_DAY + timedelta(days=2, hours=1),
        standing=False,
    )


def test_one_drifted_delivery_is_not_confirmed_and_stands_until_patience_ordinary_ones_come():
    (episode,) = episodes(_days("ok", "drifted"), patience=2)
    assert (episode.confirmed, episode.confirmed_at, episode.standing) == (False, None, True)
    assert _seen(_days("ok", "drifted", "ok")) == [(("d1",), False, True)]
    assert _seen(_days("ok", "drifted", "ok", "ok")) == [(("d1",), False, False)]


def test_with_a_patience_of_one_each_drifted_delivery_counts():
    assert _seen(_days("drifted", "ok", "drifted"), patience=1) == [
        (("d0",), True, False),
        (("d2",), True, True),
    ]


def test_patience_ordinary_deliveries_in_a_row_start_the_count_again():
    assert _seen(_days("drifted", "ok", "ok", "drifted")) == [
        (("d0",), False, False),
        (("d3",), False, True),
    ]


def test_one_ordinary_delivery_neither_ends_nor_confirms_what_drifts_around_it():
    assert _seen(_days("drifted", "ok", "drifted")) == [(("d0", "d2"), False, True)]
    assert _seen(_days("drifted", "drifted", "ok", "drifted")) == [(("d0", "d1", "d3"), True, True)]


def test_a_product_that_alternates_with_an_ordinary_one_is_confirmed_by_its_third_delivery():
    (episode,) = episodes(_days(*["drifted", "ok"] * 10), patience=2)
    assert episode.deliveries == tuple(f"d{day}" for day in range(0, 20, 2))
    assert episode.confirmed_at == _DAY + timedelta(days=4, hours=1)


@pytest.mark.parametrize(
    ("verdicts", "confirmed"),
    [("DDD", True), ("DDoD", False), ("DDoDD", True), ("DoDoDoD", True), ("DooDoDoD", False)],
)
def test_one_more_than_patience_among_so_many_more_confirm_a_drift_too(verdicts: str, confirmed: bool):
    days = _days(*("drifted" if one == "D" else "ok" for one in verdicts))
    (episode,) = episodes(days, patience=3)
    assert episode.confirmed is confirmed


@pytest.mark.parametrize("without_verdict", ["not_enough", "not_calibrated", "no_reference"])
def test_a_delivery_without_a_verdict_neither_extends_nor_breaks_a_run(without_verdict: str):
    assert _seen(_days("drifted", without_verdict, "drifted", without_verdict)) == [
        (("d0", "d2"), True, True)
    ]
    assert _seen(_days("drifted", without_verdict)) == [(("d0",), False, True)]


def test_a_late_delivery_takes_its_place_by_capture_and_a_pair_that_it_tears_is_a_warning_again():
    late = _metric("late", 1, "ok", measured_at=_DAY + timedelta(days=9))
    in_a_row = _metrics(_metric("a", 0, "drifted"), _metric("b", 2, "drifted"))
    assert _seen(in_a_row) == [(("a", "b"), True, True)]
    assert _seen(pl.concat([in_a_row, _metrics(late)])) == [(("a", "b"), False, True)]
    third = _metrics(_metric("c", 3, "drifted"))
    assert _seen(pl.concat([in_a_row, _metrics(late), third])) == [(("a", "b", "c"), True, True)]


def test_what_a_late_ordinary_delivery_tears_was_confirmed_when_it_was():
    late = _metric("late", 1, "ok", measured_at=_DAY + timedelta(days=9))
    drifted = (_metric(name, day, "drifted") for name, day in (("a", 0), ("b", 2), ("c", 3)))
    (episode,) = episodes(_metrics(*drifted, late), patience=2)
    assert episode.confirmed_at == _DAY + timedelta(days=2, hours=1)


def test_a_clock_that_runs_ahead_moves_a_delivery_no_farther_than_to_when_it_was_measured():
    ahead = [
        _metric(f"f{day}", 730 + day, "drifted", measured_at=_DAY + timedelta(days=day)) for day in (0, 1)
    ]
    ordinary = [_metric(f"o{day}", day, "ok") for day in (2, 3)]
    assert _seen(_metrics(*ahead)) == [(("f0", "f1"), True, True)]
    assert _seen(_metrics(*ahead, *ordinary)) == [(("f0", "f1"), True, False)]


def test_a_late_drifted_delivery_extends_the_run_without_moving_when_it_was_confirmed():
    late = _metric("late", 1, "drifted", measured_at=_DAY + timedelta(days=9))
    (episode,) = episodes(_metrics(_metric("a", 0, "drifted"), _metric("b", 2, "drifted"), late), patience=2)
    assert episode.deliveries == ("a", "late", "b")
    assert episode.confirmed_at == _DAY + timedelta(days=2, hours=1)


def test_a_drift_that_a_late_delivery_completes_is_confirmed_when_that_was_measured():
    late = _metric("late", 0, "drifted", measured_at=_DAY + timedelta(days=9))
    (episode,) = episodes(_metrics(_metric("b", 1, "drifted"), late), patience=2)
    assert episode.deliveries == ("late", "b")
    assert episode.confirmed_at == _DAY + timedelta(days=9)


def test_deliveries_captured_at_the_same_time_are_ordered_by_name():
    metrics = _metrics(_metric("b", 0, "ok"), _metric("a", 0, "drifted"), _metric("c", 0, "drifted"))
    assert _seen(metrics) == [(("a", "c"), False, True)]
    assert _seen(pl.concat([metrics, _metrics(_metric("bb", 0, "ok"))])) == [
        (("a",), False, False),
        (("c",), False, True),
    ]


def test_each_station_has_its_own_row_of_deliveries():
    metrics = _metrics(
        _metric("a0", 0, "drifted", station="el1"),
        _metric("b0", 1, "ok", station="el2"),
        _metric("a1", 2, "drifted", station="el1"),
        _metric("b1", 3, "drifted", station="el2"),
    )
    assert [(one.station, one.deliveries, one.confirmed) for one in episodes(metrics, 2)] == [
        ("el1", ("a0", "a1"), True),
        ("el2", ("b1",), False),
    ]


def test_deliveries_of_unknown_station_are_a_station_of_their_own():
    metrics = _metrics(
        _metric("a", 0, "drifted", station=None),
        _metric("b", 1, "drifted", station="el1"),
        _metric("c", 2, "drifted", station=None),
    )
    assert [(one.station, one.confirmed) for one in episodes(metrics, 2)] == [(None, True), ("el1", False)]


def test_each_release_starts_anew():
    metrics = pl.concat(
        [
            _metrics(_metric("a", 0, "drifted")),
            _metrics(_metric("b", 1, "drifted", release="v1.1.0", release_number=2)),
        ]
    )
    assert [(one.release, one.confirmed) for one in episodes(metrics, 2)] == [
        ("v1.0.0", False),
        ("v1.1.0", False),
    ]


def test_one_delivery_is_enough_for_a_station_also_before_the_first_release():
    shares = {"statistic": "rejected", "role": "station", "release": None, "release_number": None}
    (episode,) = episodes(_days("ok", "drifted", **shares), patience=3)
    assert (episode.confirmed, episode.release, episode.release_number) == (True, None, None)


def test_only_confirmed_drift_that_may_retrain_sends_whole_deliveries_to_people():
    metrics = pl.concat(
        [
            _days("drifted", "drifted", "ok", "ok", "drifted"),
            _days("ok", "ok", "drifted", "drifted", statistic="decoded.brightness", role="warns"),
            _days("ok", "ok", "drifted", "drifted", statistic="rejected", role="station"),
        ]
    )
    assert drifted_deliveries(metrics, patience=2) == {"d0", "d1"}


def test_no_metrics_have_no_episodes():
    assert episodes(_metrics(), patience=2) == []
    assert drifted_deliveries(_metrics(), patience=2) == frozenset()
    assert cumulative(_metrics()).schema["cumulative"] == pl.Float64


def test_a_patience_below_one_is_refused():
    with pytest.raises(ValueError, match="patience must be 1 or more, got 0"):
        episodes(_metrics(), patience=0)


def test_the_sum_rises_by_what_is_above_three_quarters_and_never_falls_below_zero():
    sums = cumulative(_ranks(0.5, 1.0, 0.875, 0.25, 1.0))["cumulative"].to_list()
    assert sums == [0, 0.25, 0.375, 0, 0.25]


def test_the_sum_stops_where_one_more_would_not_say_more():
    assert cumulative(_ranks(*[1.0] * 8))["cumulative"].to_list() == [
        0.25,
        0.5,
        0.75,
        1,
        1.25,
        1.25,
        1.25,
        1.25,
    ]


@pytest.mark.parametrize("rank", [None, float("nan")])
def test_a_delivery_without_rank_or_verdict_leaves_the_sum_as_it_is(rank: float | None):
    metrics = pl.concat([_ranks(1.0, rank), _metrics(_metric("z", 7, "not_enough", rank=1.0))])
    assert cumulative(metrics)["cumulative"].to_list() == [0.25, 0.25, 0.25]


def test_five_of_the_most_unusual_in_a_row_are_slow_drift_though_each_is_inside_its_level():
    assert episodes(_ranks(0.25, 1, 1, 1, 1), patience=2) == []
    (episode,) = episodes(_ranks(0.25, 1, 1, 1, 1, 1), patience=2)
    assert (episode.slow, episode.confirmed, episode.standing) == (True, True, True)
    assert episode.deliveries == ("d1", "d2", "d3", "d4", "d5")
    assert episode.confirmed_at == _DAY + timedelta(days=5, hours=1)


def test_more_of_less_unusual_deliveries_are_slow_drift_too():
    assert [one.slow for one in episodes(_ranks(*[0.875] * 9), patience=2)] == [True]
    assert episodes(_ranks(*[0.875] * 8), patience=2) == []


def test_slow_drift_ends_where_the_sum_was_last_beyond_its_limit():
    (episode,) = episodes(_ranks(1, 1, 1, 1, 1, 0.5, 0.5), patience=2)
    assert (episode.deliveries, episode.standing) == (("d0", "d1", "d2", "d3", "d4"), False)


def test_slow_drift_of_what_only_warns_is_never_confirmed():
    (episode,) = episodes(_ranks(*[1.0] * 5, statistic="prepared.focus", role="warns"), patience=2)
    assert (episode.slow, episode.confirmed, episode.confirmed_at) == (True, False, None)


def test_slow_drift_that_a_confirmed_run_shows_is_not_told_twice():
    assert [one.slow for one in episodes(_days(*["drifted"] * 9, "ok"), patience=2)] == [False]


def test_after_a_long_drift_two_ordinary_deliveries_end_it():
    (episode,) = episodes(_days(*["drifted"] * 20, "ok", "ok"), patience=2)
    assert (len(episode.deliveries), episode.standing) == (20, False)


def test_drift_that_flickers_around_its_level_is_seen_by_its_sum():
    flickering = _metrics(
        *(
            _metric(f"d{day}", day, "ok" if day % 3 else "drifted", rank=0.95 if day % 3 else 1.0)
            for day in range(6)
        )
    )
    assert [(one.slow, one.confirmed) for one in episodes(flickering, patience=2)] == [
        (False, False),
        (False, False),
        (True, True),
    ]


def test_slow_drift_with_a_confirmed_run_around_it_is_not_told_twice():
    alternating = _metrics(
        *(
            _metric(f"d{day}", day, "ok" if day % 2 else "drifted", rank=0.95 if day % 2 else 1.0)
            for day in range(7)
        )
    )
    assert [(one.slow, one.confirmed) for one in episodes(alternating, patience=2)] == [(False, True)]


def test_ordinary_deliveries_hardly_more_often_confirm_a_drift_than_by_those_in_a_row_alone():
    drifted = np.random.default_rng(11).uniform(size=20_000) < 0.09
    confirmed = [
        one.deliveries for one in episodes(_days(*np.where(drifted, "drifted", "ok")), 2) if one.confirmed
    ]
    pairs = (drifted[1:] & drifted[:-1] & ~np.append(False, drifted[:-2])).sum()
    assert len(confirmed) <= 1.15 * pairs


def test_ordinary_deliveries_hardly_ever_look_like_slow_drift():
    ranks = np.random.default_rng(5).uniform(size=50_000).tolist()
    sums = cumulative(
        pl.DataFrame(
            {
                "delivery": [f"{number:06}" for number in range(len(ranks))],
                "statistic": "novelty",
                "station": "el1",
                "captured_from": _DAY,
                "measured_at": _DAY,
                "release_number": 1,
                "rank": ranks,
                "verdict": "ok",
            }
        )
    )["cumulative"]
    onsets = ((sums > SLOW_LIMIT) & (sums.shift(1, fill_value=0.0) <= SLOW_LIMIT)).sum()
    assert onsets <= 10


_ROWS = st.lists(
    st.tuples(
        st.integers(0, 8),
        st.sampled_from(["ok", "drifted", "not_enough", "not_calibrated", "no_reference"]),
        st.sampled_from(["el1", "el2", None]),
        st.sampled_from(["novelty", "rejected"]),
        st.sampled_from([1, 2, None]),
        st.sampled_from([None, 0.0, 0.5, 0.9, 1.0]),
        st.integers(0, 30),
    ),
    max_size=25,
)


def _drawn(rows: list[tuple]) -> pl.DataFrame:
    return _metrics(
        *(
            _metric(
                f"d{number:02}",
                day,
                verdict,
                station=station,
                statistic=statistic,
                role="alarms" if statistic == "novelty" else "station",
                release=None if release is None else f"v{release}",
                release_number=release,
                rank=rank,
                measured_at=_DAY + timedelta(days=measured),
            )
            for number, (day, verdict, station, statistic, release, rank, measured) in enumerate(rows)
        )
    )


@given(_ROWS, st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_nothing(rows, random):
    metrics = _drawn(rows)
    shuffled = metrics.sample(fraction=1, shuffle=True, seed=random.randrange(2**32))
    assert episodes(shuffled, 2) == episodes(metrics, 2)
    assert cumulative(shuffled).equals(cumulative(metrics))


@given(_ROWS)
def test_what_has_no_verdict_changes_nothing(rows):
    metrics = _drawn(rows)
    judged = metrics.filter(pl.col("verdict").is_in(["ok", "drifted"]))
    assert episodes(metrics, 2) == episodes(judged, 2)


@given(_ROWS, st.integers(1, 4))
def test_every_drifted_delivery_is_in_exactly_one_run_and_its_neighbours_are_ordinary(rows, patience):
    metrics = _drawn(rows)
    runs = [one for one in episodes(metrics, patience) if not one.slow]
    told = [(one.statistic, delivery) for one in runs for delivery in one.deliveries]
    drifted = metrics.filter(verdict="drifted")
    assert sorted(told) == sorted(drifted.select("statistic", "delivery").rows())
    for one, after in itertools.pairwise(runs):
        same = (one.statistic, one.station, one.release_number) == (
            after.statistic,
            after.station,
            after.release_number,
        )
        assert not (same and one.standing)


@given(_ROWS, st.integers(1, 2))
def test_more_patience_never_confirms_more(rows, patience):
    metrics = _drawn(rows)
    runs = [one for one in episodes(metrics, patience) if one.confirmed and not one.slow]
    for stricter in episodes(metrics, patience + 1):
        if stricter.confirmed and not stricter.slow:
            same = [one for one in runs if one.statistic == stricter.statistic]
            assert any(set(one.deliveries) <= set(stricter.deliveries) for one in same)


@given(_ROWS, st.integers(1, 4))
def test_a_drift_is_confirmed_once_enough_of_it_was_measured_and_not_later_than_all_of_it(rows, patience):
    metrics = _drawn(rows)
    for one in episodes(metrics, patience):
        assert one.confirmed == (one.confirmed_at is not None)
        if one.confirmed_at is not None and not one.slow:
            known = metrics.filter(pl.col("measured_at") <= one.confirmed_at)
            assert any(
                set(then.deliveries) & set(one.deliveries) and then.confirmed
                for then in episodes(known, patience)
                if then.statistic == one.statistic
            )


@given(_ROWS)
def test_the_sum_stays_between_zero_and_its_end(rows):
    assert cumulative(_drawn(rows))["cumulative"].is_between(0, 1.25).all()
