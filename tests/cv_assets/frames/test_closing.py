import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.frames.captures import read_file_name
from cv_assets.frames.closing import close, explain, note_groups
from cv_assets.frames.deliveries import Sight, Waiting
from cv_assets.frames.files import Identity
from cv_assets.spec.acquisition import Acquisition

MINUTE = 60.0


def acquisition(**close):
    return Acquisition(
        file_name=r"(?P<station>\w+)-(?P<group>m\d+)of(?P<count>\d+)-(?P<part>\w+)\.png",
        close=close,
        files_per_tick=100,
    )


def waiting(*names, since=0.0, of):
    return [
        Waiting(name, Sight(Identity(1, 2, 3, place), 2, since), read_file_name(name, of))
        for place, name in enumerate(names)
    ]


def closed(files, of, now=0.0, late=None, is_used=lambda key: False):
    return [sorted(one.files) for one in close(files, late or {}, of, now, is_used)]


def test_a_group_closes_when_all_its_files_are_there_and_no_other_file_goes_with_it():
    of = acquisition(complete_group=True)
    files = waiting("line1-m1of2-a.png", "line1-m2of2-c.png", "line1-m1of2-b.png", of=of)
    (delivery,) = close(files, {}, of, 0.0, lambda key: False)
    assert sorted(delivery.files) == ["line1-m1of2-a.png", "line1-m1of2-b.png"]
    assert (delivery.station, delivery.group) == ("line1", "m1")
    assert delivery.closed_by == "m1 is complete (2 of 2)"


def test_the_same_group_of_two_stations_is_two_groups():
    of = acquisition(complete_group=True)
    assert closed(waiting("line1-m1of2-a.png", "line2-m1of2-b.png", of=of), of) == []


def test_files_close_by_number_per_station_and_the_rest_waits():
    of = acquisition(files=2)
    files = waiting(*(f"line1-m1of9-{part}.png" for part in "abcde"), "line2-m1of9-a.png", of=of)
    assert closed(files, of) == [
        ["line1-m1of9-a.png", "line1-m1of9-b.png"],
        ["line1-m1of9-c.png", "line1-m1of9-d.png"],
    ]


def test_a_station_closes_when_its_first_file_has_waited_long_enough():
    of = acquisition(minutes=30)
    files = [
        *waiting("line1-m1of9-a.png", since=0.0, of=of),
        *waiting("line2-m1of9-a.png", since=5 * MINUTE, of=of),
        *waiting("line1-m2of9-a.png", since=29 * MINUTE, of=of),
    ]
    assert closed(files, of, now=30 * MINUTE - 1) == []
    assert closed(files, of, now=30 * MINUTE) == [["line1-m1of9-a.png", "line1-m2of9-a.png"]]


def test_a_late_file_joins_the_next_delivery_of_its_station():
    of = acquisition(complete_group=True)
    late = {"line1": ("m1",)}
    straggler = waiting("line1-m1of2-x.png", of=of)
    assert closed(straggler, of, late=late) == []
    other = waiting("line2-m2of1-a.png", of=of)
    assert closed([*straggler, *other], of, late=late) == [["line2-m2of1-a.png"]]
    own = waiting("line1-m2of1-a.png", of=of)
    assert closed([*straggler, *own], of, late=late) == [["line1-m1of2-x.png", "line1-m2of1-a.png"]]


def test_files_with_an_unknown_name_do_not_wait_for_a_group_that_never_completes():
    of = acquisition(complete_group=True)
    (delivery,) = close(waiting("holiday.jpg", "thumbs.db", of=of), {}, of, 0.0, lambda key: False)
    assert delivery.key.startswith("unknown-19700101T000000-")
    assert delivery.station is None
    assert closed(waiting("holiday.jpg", of=acquisition(minutes=1)), acquisition(minutes=1)) == []


def test_a_look_closes_no_more_than_its_files():
    of = replace_files_per_tick(acquisition(files=2), 4)
    files = waiting(*(f"line1-m1of9-{part:02}.png" for part in range(10)), of=of)
    assert len(closed(files, of)) == 2


def replace_files_per_tick(of, files):
    return of.model_copy(update={"files_per_tick": files})


def test_a_key_can_be_read_and_is_never_given_twice():
    of = acquisition(complete_group=True)
    files = waiting("line1-m7of1-a.png", of=of)
    (first,) = close(files, {}, of, 0.0, lambda key: False)
    (second,) = close(files, {}, of, 0.0, lambda key: key == first.key)
    assert re.fullmatch(r"line1-m7-[0-9a-f]{6}", first.key)
    assert second.key != first.key
    (later,) = close(files, {}, of, 1.0, lambda key: False)
    assert later.key != first.key


@given(st.text(min_size=1, max_size=60))
def test_any_station_makes_a_key_of_plain_characters(station):
    of = acquisition(files=1)
    (file,) = waiting("line1-m7of1-a.png", of=of)
    (delivery,) = close(
        [replace(file, file=replace(file.file, station=station))], {}, of, 0.0, lambda key: False
    )
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,90}", delivery.key)


def test_what_waits_is_said_in_words():
    of = acquisition(complete_group=True, minutes=30)
    files = waiting("line1-m7of60-a.png", "line1-m7of60-b.png", "line1-m6of60-x.png", since=30_600.0, of=of)
    assert explain(files, 3, {"line1": ("m6",)}, of) == [
        "3 files wait for line1: m7 has 2 of 60, m6 has 1 late, for the next delivery; "
        "the delivery closes when complete or at 09:00 UTC.",
        "3 more may still be written to.",
    ]
    assert explain(waiting("a.jpg", of=of), 0, {}, of) == [
        "1 file waits with a name that the pattern does not fit: the delivery closes at 00:30 UTC."
    ]
    counted = acquisition(files=5)
    assert explain(waiting("line1-m7of60-a.png", of=counted), 0, {}, counted) == [
        "1 file waits for line1: the delivery closes at 5 files."
    ]


def test_closed_groups_are_remembered_and_the_oldest_forgotten():
    of = acquisition(complete_group=True)
    names = [f"line1-m{number}of1-a.png" for number in range(1002)]
    noted = note_groups(
        {"line1": ("m0", "m1")},
        close(waiting(*names, of=of), {}, replace_files_per_tick(of, 9999), 0, lambda key: False),
    )
    assert len(noted["line1"]) == 1000
    assert noted["line1"][-1] == "m1001"


@pytest.mark.parametrize(
    "rules", [{"files": 3}, {"minutes": 1}, {"complete_group": True}, {"files": 4, "complete_group": True}]
)
@given(
    st.lists(
        st.tuples(st.sampled_from(["line1", "line2"]), st.integers(1, 3), st.integers(1, 4)), max_size=30
    )
)
def test_no_file_is_in_two_deliveries_and_none_is_made_up(rules, parts):
    of = acquisition(**rules)
    names = [
        f"{station}-m{group}of{count}-{place}.png" for place, (station, group, count) in enumerate(parts)
    ]
    delivered = [
        name
        for files in closed(waiting(*names, of=of), of, now=30.0, late={"line1": ("m1",)})
        for name in files
    ]
    assert len(delivered) == len(set(delivered))
    assert set(delivered) <= set(names)
