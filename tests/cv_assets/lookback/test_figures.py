"""Pictures of a replay."""

import cv2
import pytest
from make_frames import cell
from make_replay import WORKED, WORKED_BENCHMARK, WORKED_LABELS

from cv_assets.evaluation.band import UNREACHABLE, OperatingBand
from cv_assets.lookback.figures import changed_frames, replay_figure
from cv_assets.lookback.replay import bands_in_effect, replay
from cv_assets.review.answers import known_truth

TRUTH = known_truth(WORKED_LABELS, WORKED_BENCHMARK)


def test_changed_frames_of_known_class_come_first(tmp_path):
    file = tmp_path / "frame.png"
    cv2.imwrite(str(file), cell(1, (48, 48)))
    shown = changed_frames(replay(WORKED, TRUTH, OperatingBand(0.2, 0.55)), WORKED, lambda _: file, 10_000)
    assert shown.captions == [
        "part b 0.25 PASS>REVIEW",
        "part g 0.60 REVIEW>FAIL",
        "part c 0.20 PASS>REVIEW",
        "part h 0.60 REVIEW>FAIL",
    ]
    assert [image.shape[:2] for image in shown.images] == [(48, 48)] * 4


@pytest.mark.parametrize(("upper", "lines"), [(0.55, 4), (UNREACHABLE, 3)])
def test_the_lower_histogram_counts_the_answered_as_often_as_they_stand_for_others(upper, lines):
    band = OperatingBand(0.2, upper)
    figure = replay_figure(replay(WORKED, TRUTH, band), bands_in_effect(WORKED), band, "sound")
    heights = [max(bar.get_y() + bar.get_height() for bar in axis.patches) for axis in figure.axes]
    assert heights == [2, 4]
    assert [len(axis.lines) for axis in figure.axes] == [lines, lines]
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told[:3] == ["sound: 4", "defective: 5", "not known: 2"]
