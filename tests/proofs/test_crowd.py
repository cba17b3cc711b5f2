"""A small crowd, through the same runs that `make prove` starts by the hundred."""

from proofs import crowd

WHOLE = {"runs": 2, "published": 2, "lost": 0, "refused": 0, "unexplained": 0, "partial": 0, "looks": 9}


def test_no_publication_of_a_small_crowd_is_lost_or_seen_in_part(tmp_path):
    data = {"CV_DATA": str(tmp_path), "LAKEFS_ENDPOINT": "", "LAKE_BRANCH": "main"}
    figures = crowd.crowd(tmp_path, data, disjoint=2, same=2, processes=2)
    assert crowd.mistakes(figures) == []
    assert figures["disjoint"]["published"] == 2
    assert figures["same"]["published"] == 2


def test_a_lost_update_or_a_reason_that_is_missing_breaks_the_claim():
    figures = {"disjoint": {**WHOLE, "lost": 1}, "same": {**WHOLE, "unexplained": 1}, "left": []}
    assert crowd.mistakes(figures) == ["1 updates were lost.", "1 losers were not told why."]
