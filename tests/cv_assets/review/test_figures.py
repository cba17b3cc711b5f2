"""The picture of the KPIs shows every window that says something, its bound, and where releases change."""

import polars as pl
from make_review import minutes

from cv_assets.review.figures import kpis_figure
from cv_assets.review.schema import Kpis
from cv_assets.spec.drift import KPIS


def windows(*verdicts, release="v1.0.0", number=1):
    rows = [
        {
            "release_number": number, "release": release, "metric": metric, "until": f"{release}-d{place}",
            "captured_to": minutes(place), "deliveries": 1, "captures": 60, "asked": 20, "answered": 20,
            "samples": 20, "groups": 3, "bound": 0.25 if metric == "overkill" else None, "verdict": verdict,
            "why": "", **({} if verdict == "not_enough" else {"value": 0.4, "low": 0.3, "high": 0.6}),
        }
        for place, verdict in enumerate(verdicts)
        for metric in KPIS
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=Kpis.create_empty().schema)


def legend(figure):
    return {text.get_text() for text in figure.legends[0].get_texts()}


def test_what_is_met_undecided_broken_and_not_known_is_told_apart_beside_its_bound():
    figure = kpis_figure(windows("not_enough", "met", "undecided", "broken"))
    assert legend(figure) == {"not enough to tell", "met", "undecided", "broken", "bound"}
    assert [axis.get_title().partition(":")[0] for axis in figure.axes] == list(KPIS)


def test_each_release_is_named_where_it_begins():
    rows = pl.concat([windows("met", "met"), windows("unbounded", release="v1.1.0", number=2)])
    assert [text.get_text() for text in kpis_figure(rows).axes[0].texts] == ["v1.0.0", "v1.1.0"]


def test_one_window_is_a_picture_too():
    (name,) = kpis_figure(windows("met")).axes[3].get_xticklabels()
    assert name.get_text() == "v1.0.0-d0"
