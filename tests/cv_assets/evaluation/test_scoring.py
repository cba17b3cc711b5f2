import polars as pl

from cv_assets.evaluation.scoring import unscored

SPLIT = pl.DataFrame(
    {"frame_id": ["t1", "v1", "g1", "x1"], "role": ["train", "val", "golden", "challenge"], "path": ["p"] * 4}
)


def _scores(*pairs: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(list(pairs), schema={"model": pl.String, "frame_id": pl.String}, orient="row")


def _missing(scores: pl.DataFrame, models: list[str], compared: list[str]) -> set[tuple[str, str]]:
    return set(unscored(scores, SPLIT, models, compared).rows())


def test_a_model_needs_a_score_for_each_frame_that_trained_or_judges():
    scores = _scores(("cnn", "t1"), ("cnn", "x1"))
    assert _missing(scores, ["cnn"], []) == {("cnn", "g1")}


def test_the_released_model_needs_a_score_only_where_candidates_are_held_against_it():
    assert _missing(_scores(), [], ["released"]) == {("released", "g1"), ("released", "x1")}


def test_with_every_score_nothing_is_missing():
    scores = _scores(*((model, frame) for model in ("cnn", "vit") for frame in ("t1", "g1", "x1")))
    assert _missing(scores, ["cnn", "vit"], []) == set()
