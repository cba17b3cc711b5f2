"""The template and the demo's spec: complete, commented, and in agreement with the settings."""

import re
from itertools import pairwise
from typing import get_args

import pytest
from ruamel.yaml import YAML

from cv_assets.spec.drift import Kpi, KpiBound
from cv_assets.spec.evaluation import SMALLER_IS_BETTER, Criterion, Metric, Regression
from cv_assets.spec.load import load_spec, parse_spec
from cv_assets.spec.mistakes import sections_of
from cv_assets.spec.schema import Spec
from cv_assets.spec.section import Section, Step
from resources.deployments import ROOT

TEMPLATE = ROOT / "specs" / "template.yaml"


def settings(section: type[Section], place: str = "") -> set[str]:
    """Every setting that a user may give, as `training.models.recipe.C`."""
    found = set()
    for name, field in section.model_fields.items():
        found.add(f"{place}.{name}".lstrip("."))
        for inner in sections_of(field.annotation):
            found |= settings(inner, f"{place}.{name}".lstrip("."))
    return found


def given(values: object, place: str = "") -> set[str]:
    match values:
        case dict():
            inner = {key: f"{place}.{key}".lstrip(".") for key in values}
            return set(inner.values()).union(*(given(value, inner[key]) for key, value in values.items()))
        case list():
            return set().union(*(given(value, place) for value in values))
    return set()


def test_no_setting_is_missing_from_the_template():
    values = YAML(typ="safe", pure=True).load(TEMPLATE)
    assert settings(Spec) - given(values) == set()


def test_every_setting_of_the_template_is_explained():
    keyed = [
        pair for pair in pairwise(TEMPLATE.read_text().splitlines()) if re.match(r"\s*(- )?\w+:", pair[1])
    ]
    unexplained = [line for above, line in keyed if " # " not in line and not above.strip().startswith("#")]
    # What these hold is explained line by line.
    assert unexplained == ["acquisition:", "labels:", "training:", "evaluation:", "release:"]


def test_what_the_template_calls_a_default_may_be_left_out():
    lines, whole = TEMPLATE.read_text().splitlines(), load_spec(TEMPLATE)
    defaults = [number for number, line in enumerate(lines) if re.search(r" # default(;|$)", line)]
    assert len(defaults) > 30
    for number in defaults:
        without = "\n".join(lines[:number] + lines[number + 1 :])
        assert parse_spec(without, TEMPLATE.name) == whole, lines[number]


@pytest.mark.parametrize("file", sorted((ROOT / "specs").glob("*.yaml")), ids=lambda file: file.name)
def test_every_spec_that_ships_loads(file):
    assert load_spec(file).classes


def test_owners_are_asked_for_every_step():
    steps = {path.parent.name for path in (ROOT / "cv_assets").glob("*/schema.py")}
    assert set(get_args(Step)) == {"default", *steps}


def test_a_criterion_can_ask_for_every_metric():
    assert set(get_args(Metric)) > SMALLER_IS_BETTER
    for metric in get_args(Metric):
        side = "at_most" if metric in SMALLER_IS_BETTER else "at_least"
        assert Criterion.model_validate({"metric": metric, side: 0.5}).metric == metric


def test_a_regression_can_ask_for_every_metric_that_a_model_has_on_the_benchmark():
    for metric in set(get_args(Metric)) - {"latency_p95_ms", "label_agreement"}:
        assert Regression.model_validate({"metric": metric, "max_loss": 0.1}).metric == metric


def test_every_kpi_can_be_bounded():
    for metric in get_args(Kpi):
        side = "at_least" if metric == "fail_precision" else "at_most"
        assert KpiBound.model_validate({"metric": metric, side: 0.5}).metric == metric
