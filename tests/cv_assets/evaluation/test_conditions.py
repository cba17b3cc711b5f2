"""What trained must be in the benchmark."""

import json

import polars as pl

from cv_assets.evaluation.conditions import conditions_of, cover, lacking


def frames(*attributes: dict[str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        {"attributes": [json.dumps(one) for one in attributes]}, schema={"attributes": pl.String}
    )


MONO, POLY, OTHER = {"product": "mono"}, {"product": "poly", "lens": "b"}, {"shift": "late"}


def test_every_value_of_an_attribute_is_counted_and_other_attributes_are_not():
    found = conditions_of(frames(MONO, POLY, POLY, OTHER, {"product": ""}), ["product", "lens"])
    assert found == {"product=mono": 1, "product=poly": 2, "lens=b": 2}


def test_no_frames_have_no_condition():
    assert conditions_of(frames(), ["product"]) == {}


def test_what_trains_without_enough_golden_frames_is_lacking_and_what_only_judges_is_not():
    roles = {"train": [POLY, MONO], "golden": [MONO, OTHER], "test": [{"product": "thinfilm"}]}
    split = pl.concat(frames(*some).with_columns(role=pl.lit(role)) for role, some in roles.items())
    assert lacking(split, ["product", "lens"], 1) == {"lens=b": 0, "product=poly": 0}
    assert lacking(split, ["product"], 2) == {"product=mono": 1, "product=poly": 0}
    assert lacking(split.clear(), ["product"], 2) == {}


def test_a_condition_that_trains_needs_as_many_golden_frames_as_the_spec_says():
    ruling = cover("product=poly", 480, golden=20, required=20)
    assert (ruling.passed, ruling.why) == (True, "golden frames with product=poly: 20, at least 20")
    assert (ruling.metric, ruling.measured, ruling.required) == ("benchmark_frames", 20, 20)


def test_a_condition_that_the_benchmark_lacks_is_told_with_what_to_do():
    ruling = cover("product=poly", 480, golden=0, required=20)
    assert not ruling.passed
    assert ruling.why == (
        "golden frames with product=poly: 0, at least 20; 480 frames with it trained: verify 20 more golden ones, "
        "then request a new candidate"
    )
