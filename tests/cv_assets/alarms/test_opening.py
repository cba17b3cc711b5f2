"""What opens an alarm, and what ends it by itself."""

from make_alarms import FIRST, by_id, hours, kpi, measured, rejected, release, verdict


def drifted(*numbers, **changed):
    """Deliveries d1, d2, … an hour apart; those of these numbers drifted."""
    return [
        measured(f"d{n}", "drifted" if n in numbers else "ok", hour=n, **changed)
        for n in range(1, max(numbers) + 1)
    ]


def windows(*verdicts, **changed):
    """A window of up to two deliveries per delivery d1, d2, …, and the captures of these."""
    kpis = [kpi(f"d{n}", one, hour=n, deliveries=min(n, 2), **changed) for n, one in enumerate(verdicts, 1)]
    captures = [verdict(f"p{n}", f"d{n}", hour=n) for n, _ in enumerate(verdicts, 1)]
    return {"kpis": kpis, "captures": captures, "releases": [FIRST]}


def test_one_drifted_delivery_warns_and_names_what_it_waits_for(spec):
    row = by_id(spec, metrics=drifted(2), releases=[FIRST])["drift-r1"]
    assert (row["state"], row["waits_for"], row["opened_at"]) == ("warning", "patience", None)
    assert row["deliveries"] == ["d2"]
    assert row["waiting"].startswith(
        "Another such delivery: an alarm takes 2 in a row or 3 of 5 at one station."
    )
    assert row["why"] == (
        "Novelty drifted in 1 delivery (d2); an alarm takes 2 in a row or 3 of 5 at one station. In d2: PSI 4.0 "
        "against the level 2.0."
    )


def test_patience_deliveries_in_a_row_open_the_alarm_of_the_release(spec):
    row = by_id(spec, metrics=drifted(2, 3), releases=[FIRST])["drift-r1"]
    assert (row["state"], row["first_delivery"], row["deliveries"]) == ("open", "d2", ["d2", "d3"])
    assert row["opened_at"] == hours(4)
    assert (row["release"], row["station"], row["statistic"]) == ("v1.0.0", "line1", "novelty")
    assert row["why"] == (
        "Novelty drifted at line1 in 2 deliveries from what v1.0.0 was trained on (d2 and d3). In d3: PSI 4.0 against "
        "the level 2.0."
    )


def test_as_many_ordinary_deliveries_as_end_an_alarm_take_a_warning_back(spec):
    metrics = [*drifted(2), measured("d3", hour=3)]
    assert by_id(spec, metrics=metrics, releases=[FIRST])["drift-r1"]["state"] == "warning"
    assert by_id(spec, metrics=[*metrics, measured("d4", hour=4)], releases=[FIRST]) == {}


def test_a_product_that_alternates_with_an_ordinary_one_opens_an_alarm_by_its_third_delivery(spec):
    assert by_id(spec, metrics=drifted(1, 3), releases=[FIRST])["drift-r1"]["state"] == "warning"
    row = by_id(spec, metrics=drifted(1, 3, 5, 7), releases=[FIRST])["drift-r1"]
    assert (row["state"], row["deliveries"], row["opened_at"]) == ("open", ["d1", "d3", "d5", "d7"], hours(6))


def test_a_late_ordinary_delivery_leaves_an_alarm_of_three_open_and_makes_a_warning_of_two(spec):
    late = measured("late", hour=2.5, measured_at=hours(9))
    row = by_id(spec, metrics=[*drifted(2, 3, 4), late], releases=[FIRST])["drift-r1"]
    assert (row["state"], row["opened_at"]) == ("open", hours(4))
    row = by_id(spec, metrics=[*drifted(2, 3), late], releases=[FIRST])["drift-r1"]
    assert (row["state"], row["deliveries"]) == ("warning", ["d2", "d3"])


def test_a_camera_whose_clock_runs_ahead_keeps_no_alarm_open(spec):
    years = 2 * 365 * 24
    ahead = [measured(f"f{n}", "drifted", hour=years + n, measured_at=hours(n)) for n in (1, 2)]
    row = by_id(spec, metrics=[*ahead, measured("d3", hour=3)], releases=[FIRST])["drift-r1"]
    assert (row["state"], row["deliveries"]) == ("open", ["f1", "f2"])
    ended = [*ahead, measured("d3", hour=3), measured("d4", hour=4)]
    assert by_id(spec, metrics=ended, releases=[FIRST])["drift-r1"]["state"] == "closed"


def test_a_delivery_without_a_verdict_is_looked_past(spec):
    metrics = [
        measured("d1", "drifted", hour=1),
        measured("d2", "not_enough", hour=2, psi=None, rank=None),
        measured("d3", "drifted", hour=3),
    ]
    row = by_id(spec, metrics=metrics, releases=[FIRST])["drift-r1"]
    assert (row["state"], row["deliveries"]) == ("open", ["d1", "d3"])


def test_an_alarm_ends_by_itself_after_as_many_ordinary_deliveries_as_open_one(spec):
    once = [*drifted(1, 2), measured("d3", hour=3)]
    assert by_id(spec, metrics=once, releases=[FIRST])["drift-r1"]["state"] == "open"
    row = by_id(spec, metrics=[*once, measured("d4", hour=4)], releases=[FIRST])["drift-r1"]
    assert (row["state"], row["waits_for"], row["closed_at"]) == ("closed", "nothing", hours(5))
    assert row["closed_by"] == "it ended by itself: 2 ordinary deliveries in a row (d3 and d4)"


def test_one_drifted_delivery_between_ordinary_ones_keeps_an_alarm_open(spec):
    metrics = [
        *drifted(1, 2),
        measured("d3", hour=3),
        measured("d4", "drifted", hour=4),
        measured("d5", hour=5),
    ]
    row = by_id(spec, metrics=metrics, releases=[FIRST])["drift-r1"]
    assert (row["state"], row["deliveries"]) == ("open", ["d1", "d2", "d4"])


def test_a_new_run_after_the_end_opens_the_same_alarm_from_its_own_first_delivery(spec):
    row = by_id(spec, metrics=drifted(1, 2, 6, 7), releases=[FIRST])["drift-r1"]
    assert (row["state"], row["deliveries"], row["opened_at"]) == ("open", ["d6", "d7"], hours(8))


def test_an_alarm_that_is_over_makes_room_for_a_new_warning(spec):
    row = by_id(spec, metrics=drifted(1, 2, 6), releases=[FIRST])["drift-r1"]
    assert (row["state"], row["deliveries"]) == ("warning", ["d6"])


def test_a_late_delivery_moves_the_first_one_and_not_the_name(spec):
    early = by_id(spec, metrics=drifted(2, 3), releases=[FIRST])
    late = measured("late", "drifted", hour=0.5, measured_at=hours(9))
    metrics = [late, *(row for row in drifted(2, 3) if row["delivery"] != "d1")]
    after = by_id(spec, metrics=metrics, releases=[FIRST])
    assert early.keys() == after.keys() == {"drift-r1"}
    assert after["drift-r1"]["deliveries"] == ["late", "d2", "d3"]
    assert after["drift-r1"]["opened_at"] == early["drift-r1"]["opened_at"]


def test_a_run_that_a_release_tears_is_no_alarm_of_either(spec):
    second = {"release": "v1.1.0", "release_number": 2}
    metrics = [measured("d1", "drifted", hour=1), measured("d2", "drifted", hour=2, **second)]
    rows = by_id(spec, metrics=metrics, releases=[FIRST, release(2, "v1.1.0", "second", hour=1.5)])
    assert {name: row["state"] for name, row in rows.items()} == {"drift-r2": "warning"}


def test_two_stations_share_the_alarm_of_their_release(spec):
    other = drifted(3, 4, station="line2")
    metrics = [*drifted(2, 3), *({**row, "delivery": f"e{row['delivery']}"} for row in other)]
    row = by_id(spec, metrics=metrics, releases=[FIRST])["drift-r1"]
    assert row["deliveries"] == ["d2", "d3", "ed3", "ed4"]
    assert row["station"] is None
    assert "at line1 in 2 deliveries" in row["why"]
    assert "at line2 in 2 deliveries" in row["why"]


def test_drifted_deliveries_of_two_stations_are_no_run(spec):
    metrics = [measured("d1", "drifted", hour=1), measured("d2", "drifted", hour=2, station="line2")]
    row = by_id(spec, metrics=metrics, releases=[FIRST])["drift-r1"]
    assert (row["state"], row["deliveries"], row["station"]) == ("warning", ["d1", "d2"], None)


def test_an_alarm_stands_while_it_stands_at_one_station(spec):
    other = [measured(f"e{n}", "drifted", hour=n, station="line2") for n in (5, 6)]
    metrics = [*drifted(1, 2), measured("d3", hour=3), measured("d4", hour=4), *other]
    row = by_id(spec, metrics=metrics, releases=[FIRST])["drift-r1"]
    assert (row["state"], row["station"], row["deliveries"]) == ("open", "line2", ["e5", "e6"])


def test_slow_drift_opens_an_alarm_that_says_so(spec):
    metrics = [measured(f"d{n}", hour=n, rank=1.0) for n in range(1, 6)]
    row = by_id(spec, metrics=metrics, releases=[FIRST])["drift-r1"]
    assert (row["kind"], row["state"], len(row["deliveries"])) == ("drift", "open", 5)
    assert row["why"].startswith("Slow drift of novelty at line1: 5 deliveries moved away")


def test_statistics_that_only_warn_open_nothing_and_are_named_beside_the_novelty(spec):
    focus = {"statistic": "prepared.focus", "role": "warns"}
    warns = [measured(f"d{n}", "drifted", hour=n, **focus) for n in (1, 2)]
    assert by_id(spec, metrics=warns, releases=[FIRST]) == {}
    row = by_id(spec, metrics=[*drifted(1, 2), *warns], releases=[FIRST])["drift-r1"]
    assert row["why"].endswith("Beyond their own levels there: prepared.focus.")


def test_a_broken_kpi_opens_an_alarm_about_the_deliveries_of_its_windows(spec):
    row = by_id(spec, **windows("met", "undecided", "broken", "broken"))["kpi-r1-overkill"]
    assert (row["kind"], row["state"], row["statistic"]) == ("kpi", "open", "overkill")
    assert row["deliveries"] == ["d2", "d3", "d4"]
    assert row["opened_at"] == hours(4)
    assert row["why"] == ("Overkill of v1.0.0 is beyond its bound. Up to d4: 0.5 (0.4 to 0.6) of 20.")


def test_a_kpi_that_recovered_closes_its_alarm_and_one_that_is_not_known_does_not(spec):
    row = by_id(spec, **windows("broken", "not_enough"))["kpi-r1-overkill"]
    assert row["state"] == "open"
    row = by_id(spec, **windows("broken", "not_enough", "met"))["kpi-r1-overkill"]
    assert (row["state"], row["closed_at"]) == ("closed", hours(4))
    assert row["closed_by"].startswith("it ended by itself: up to d3, ")


def test_a_kpi_never_broken_or_without_a_bound_opens_nothing(spec):
    assert by_id(spec, **windows("met", "not_enough", "unbounded")) == {}


def test_a_kpi_without_answers_opens_with_its_last_capture(spec):
    row = by_id(spec, **windows("broken", metric="review_share", answered_at=None))["kpi-r1-review_share"]
    assert row["opened_at"] == hours(1)


def test_one_unusual_share_alarms_the_station_and_the_next_ordinary_one_ends_it(spec):
    metrics = [rejected("d1", "drifted", hour=1)]
    (row,) = by_id(spec, metrics=metrics, releases=[FIRST]).values()
    assert (row["alarm_id"], row["kind"], row["state"]) == ("rejected-line1-d1", "station", "open")
    assert (row["waits_for"], row["needed_labels"], row["cooldown_until"]) == ("station", 0, None)
    assert row["waiting"].startswith("A person at station line1: look at camera, light")
    (row,) = by_id(spec, metrics=[*metrics, rejected("d2", hour=2)], releases=[FIRST]).values()
    assert (row["state"], row["closed_by"]) == ("closed", "it ended by itself: d2 is ordinary")


def test_a_station_alarm_needs_no_release_and_outlives_one(spec):
    before = {"release": None, "release_number": None}
    metrics = [rejected("d1", "drifted", hour=1, **before), rejected("d2", "drifted", hour=2)]
    (row,) = by_id(spec, metrics=metrics, releases=[FIRST]).values()
    assert (row["state"], row["deliveries"], row["release"]) == ("open", ["d1", "d2"], None)


def test_each_trouble_at_a_station_is_an_alarm_of_its_own(spec):
    metrics = [rejected(f"d{n}", one, hour=n) for n, one in enumerate(["drifted", "ok", "drifted"], 1)]
    rows = by_id(spec, metrics=metrics, releases=[FIRST])
    assert {name: row["state"] for name, row in rows.items()} == {
        "rejected-line1-d1": "closed",
        "rejected-line1-d3": "open",
    }


def _for(reason: str, delivery: str, *, hour: float):
    return rejected(delivery, "drifted", hour=hour, statistic=f"rejected.{reason}")


def test_a_reason_has_no_alarm_beside_that_of_all_rejections_which_began_with_it(spec):
    metrics = [rejected("d1", "drifted", hour=1), _for("low_focus", "d1", hour=1)]
    assert set(by_id(spec, metrics=metrics)) == {"rejected-line1-d1"}
    metrics += [rejected("d2", "drifted", hour=2)]
    assert set(by_id(spec, metrics=metrics)) == {"rejected-line1-d1"}


def test_a_new_reason_alarms_while_the_alarm_of_another_is_open(spec):
    first = [rejected("d1", "drifted", hour=1), _for("low_focus", "d1", hour=1)]
    second = [rejected("d2", "drifted", hour=2), _for("too_dark", "d2", hour=2)]
    rows = by_id(spec, metrics=[*first, *second])
    assert set(rows) == {"rejected-line1-d1", "rejected.too_dark-line1-d2"}


def test_a_reason_that_outlasts_the_alarm_of_all_rejections_is_told_from_its_beginning(spec):
    metrics = [rejected("d1", "drifted", hour=1), rejected("d2", hour=2)]
    rows = by_id(spec, metrics=[*metrics, *(_for("low_focus", f"d{n}", hour=n) for n in (1, 2))])
    assert rows["rejected-line1-d1"]["state"] == "closed"
    assert rows["rejected.low_focus-line1-d1"]["deliveries"] == ["d1", "d2"]


def test_a_station_whose_name_no_id_can_hold_has_an_alarm_all_the_same(spec):
    metrics = [
        rejected("d1", "drifted", hour=1, station="Halle 3/ä"),
        rejected("d2", "drifted", hour=1, station=None),
    ]
    assert set(by_id(spec, metrics=metrics)) == {"rejected-Halle_3_-d1", "rejected-unknown-d2"}


def test_nothing_released_or_measured_opens_nothing(spec):
    assert by_id(spec) == {}
    none = {"release": None, "release_number": None, "rank": None, "psi": None}
    assert by_id(spec, metrics=[measured("d1", "no_reference", hour=1, **none)]) == {}
