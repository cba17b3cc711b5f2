"""What people said of frames: votes, and above them what a named person verified."""

from make_labels import frame
from make_review import benchmark, label, labels, minutes, verified

from cv_assets.review.answers import answers, known_truth


def test_a_verified_class_comes_before_a_voted_one_and_votes_that_do_not_decide_are_no_truth():
    voted = labels(label("a", "ann", agreed="sound", minute=1), label("b", "ann", minute=2))
    truth = known_truth(voted, benchmark(verified("a", "defective", minute=3)))
    assert truth.select("frame_id", "truth", "answered_at").rows() == [(frame("a"), "defective", minutes(3))]


def test_votes_that_do_not_decide_are_an_answer_without_a_class():
    (said,) = answers(labels(label("b", "ann", minute=2)), benchmark()).iter_rows(named=True)
    assert (said["answer"], said["answered_by"], said["answered_at"]) == (None, ["ann"], minutes(2))
