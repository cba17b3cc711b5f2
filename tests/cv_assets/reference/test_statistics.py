"""What is measured of frames and of captures."""

import polars as pl
import pytest

from cv_assets.frames.schema import STATISTICS, PreparedFrames, RawFrames
from cv_assets.reference.statistics import PLAIN, SHARES, frame_values, station_shares


def _measured(focus: float) -> dict[str, float]:
    return {**dict.fromkeys(STATISTICS, 1.0), "focus": focus}


def _prepared(*captures: tuple[str, str, float | None]) -> pl.DataFrame:
    """Captures as (capture, reason, focus before the pass); after it the focus is 10 more."""
    rows = [
        {
            "capture_id": capture,
            "delivery": "d1",
            "accepted": reason == "ok",
            "reason": reason,
            "decoded": None if focus is None else _measured(focus),
            "prepared": None if focus is None or reason != "ok" else _measured(focus + 10),
        }
        for capture, reason, focus in captures
    ]
    schema = PreparedFrames.create_empty().schema
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)


def _raw(**frames: str) -> pl.DataFrame:
    rows = [{"capture_id": capture, "frame_id": frame} for capture, frame in frames.items()]
    return pl.DataFrame(
        rows, schema={name: RawFrames.create_empty().schema[name] for name in ("capture_id", "frame_id")}
    )


def test_the_values_of_a_delivery_are_those_of_its_accepted_captures_before_and_after_the_pass():
    values = frame_values(_prepared(("c0", "ok", 5.0), ("c1", "low_focus", 1.0), ("c2", "ok", 7.0)))
    assert values.columns == ["capture_id", "delivery", *PLAIN]
    shown = values.select("capture_id", "decoded.focus", "prepared.focus").rows()
    assert shown == [("c0", 5, 15), ("c2", 7, 17)]


def test_nan_is_no_value():
    values = frame_values(_prepared(("c0", "ok", float("nan"))))
    assert values["decoded.focus"].to_list() == [None]


def test_a_delivery_without_captures_has_no_values_and_shares_of_none():
    assert frame_values(_prepared()).is_empty()
    assert station_shares(_raw(), _prepared()) == dict.fromkeys(SHARES, 0.0)


def test_rejected_captures_are_counted_whole_and_by_reason():
    captures = [
        ("c0", "ok", 5.0),
        ("c1", "low_focus", 1.0),
        ("c2", "low_focus", 1.0),
        ("c3", "unreadable", None),
    ]
    shares = station_shares(_raw(c0="f0", c1="f1", c2="f2", c3="f3"), _prepared(*captures))
    assert tuple(shares) == SHARES
    assert shares["rejected"] == 0.75
    assert {name: share for name, share in shares.items() if share} == {
        "rejected": 0.75,
        "rejected.low_focus": 0.5,
        "rejected.unreadable": 0.25,
    }


@pytest.mark.parametrize(("frames", "share"), [("abcd", 0), ("abcc", 0.5), ("aaab", 0.75), ("aabb", 1)])
def test_captures_are_repeated_when_another_one_has_the_same_bytes(frames, share):
    raw = _raw(**{f"c{number}": frame for number, frame in enumerate(frames)})
    prepared = _prepared(*((f"c{number}", "ok", 5.0) for number in range(4)))
    assert station_shares(raw, prepared)["repeated"] == share
