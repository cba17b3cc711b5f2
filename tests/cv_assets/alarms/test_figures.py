"""The picture of the trend."""

import pytest
from make_alarms import FIRST, kpi, made, measured, rejected, release, tables, verdict

from cv_assets.alarms.figures import DRAWN, MOST, trend_figure
from resources.pictures import MAX_BYTES, figure_png

SECOND = {"release": "v1.1.0", "release_number": 2, "psi_level": 3.0}


@pytest.fixture
def trend(spec):
    def draw(measure="psi", **rows):
        given = tables(**rows)
        return trend_figure(given["metrics"].select(DRAWN), given["kpis"], made(spec, **rows), measure)

    return draw


def texts(axis):
    return [one.get_text() for one in axis.texts]


def plant(number):
    """So many deliveries, the last three drifted, the second half judged by a second release."""
    rows = {
        "metrics": [],
        "kpis": [],
        "captures": [],
        "releases": [FIRST, release(2, "v1.1.0", "c", hour=number / 2)],
    }
    for n in range(number):
        of = SECOND if n >= number // 2 else {}
        rows["metrics"] += [
            measured(f"d{n:03}", "drifted" if n >= number - 3 else "ok", hour=n, **of),
            rejected(f"d{n:03}", hour=n, **of),
        ]
        judged = {name: of[name] for name in ("release", "release_number") if of}
        rows["kpis"].append(kpi(f"d{n:03}", "broken" if n == number - 1 else "met", hour=n, **judged))
        rows["captures"].append(verdict(f"p{n}", f"d{n:03}", hour=n))
    return rows


def test_fifty_deliveries_are_drawn_with_releases_alarms_and_kpis(trend):
    figure = trend(**plant(50))
    novelty, shares, overkill = figure.axes
    assert texts(novelty) == ["v1.0.0", "v1.1.0", "drift-r2: open"]
    assert texts(shares) == []
    assert texts(overkill) == ["kpi-r2-overkill: open"]
    assert novelty.get_ylabel() == "PSI of\nthe novelty"
    assert len(overkill.get_xticks()) == 25
    assert len(figure_png(figure)) < MAX_BYTES


def test_only_the_newest_deliveries_are_drawn(trend):
    figure = trend(**plant(MOST + 20))
    assert figure.axes[0].get_xlim()[1] < MOST
    assert figure.axes[-1].get_xticklabels()[0].get_text() == "d020"


def test_the_measure_that_decides_is_drawn(trend):
    assert trend("kl", **plant(6)).axes[0].get_ylabel() == "KL of\nthe novelty"


def test_deliveries_without_a_verdict_and_of_several_stations_can_be_drawn(trend):
    nothing = {"psi": None, "psi_level": None, "rank": None, "release": None, "release_number": None}
    figure = trend(
        metrics=[
            measured("d1", "no_reference", hour=1, **nothing),
            measured("d2", "not_enough", hour=2, station="line2"),
            measured("d3", hour=3),
        ],
        releases=[FIRST],
    )
    assert texts(figure.axes[0]) == ["no release", "v1.0.0"]
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert {"station line1", "station line2", "not enough", "ok"} <= set(labels)
