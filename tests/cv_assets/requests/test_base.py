"""What a training starts from."""

from datetime import UTC, datetime

import polars as pl
import pytest

from cv_assets.labels.schema import BenchmarkFrames
from cv_assets.requests.base import (
    base_is_in_force,
    name_mistake,
    new_request,
    release_in_force,
    same_request,
)
from cv_assets.requests.schema import TrainingRequest


def ask(**changes):
    values = {
        "candidate": "c1",
        "reason": "person",
        "evidence": "the line looks different",
        "requested_by": "ada",
        "requested_at": datetime(2026, 3, 2, tzinfo=UTC),
        "base_commit": "abc",
        "spec_digest": "s",
        "benchmark_frames": BenchmarkFrames.create_empty(),
        "releases": pl.DataFrame(),
    }
    return new_request(**{**values, **changes})


def test_a_request_before_any_release_or_benchmark_says_so():
    row = ask()
    assert TrainingRequest.is_valid(row)
    assert (row["benchmark_version"][0], row["released_version"][0]) == (0, None)


def test_a_request_remembers_the_newest_benchmark_and_what_is_in_force():
    releases = pl.DataFrame(
        {"outcome": ["released", "released", "refused"], "version": ["v1.0.0", "v1.1.0", None]}
    )
    row = ask(benchmark_frames=pl.DataFrame({"version": [1, 3, 2]}), releases=releases)
    assert (row["benchmark_version"][0], row["released_version"][0]) == (3, "v1.1.0")


def test_after_a_rollback_the_version_rolled_back_to_is_in_force():
    rows = [("released", "v1.0.0"), ("released", "v1.1.0"), ("rolled_back", "v1.0.0"), ("refused", None)]
    now = release_in_force(pl.DataFrame(rows, schema=["outcome", "version"], orient="row"))
    assert now == {"outcome": "rolled_back", "version": "v1.0.0"}


def test_only_refusals_put_nothing_in_force():
    assert release_in_force(pl.DataFrame({"outcome": ["refused"], "version": [None]})) is None


def test_asking_again_at_another_time_is_the_same_request():
    later = ask(requested_at=datetime(2027, 1, 1, tzinfo=UTC), base_commit="def")
    assert same_request(ask(), later)


def test_asking_for_another_reason_is_another_request():
    assert not same_request(ask(), ask(reason="schedule"))


@pytest.mark.parametrize("name", ["", "a.b", "a b", "../c1", "c1\n", "é", "x" * 101])
def test_a_candidates_name_can_be_part_of_a_branch_and_a_path(name):
    assert name_mistake(name, []) == f"a candidate's name is 1 to 100 of [A-Za-z0-9_-], got {name!r}"


def test_two_candidates_never_differ_only_by_case():
    assert name_mistake("March", ["march"]) == "'March' differs from the candidate 'march' only by case"
    assert not name_mistake("march", ["march", "april"])


@pytest.mark.parametrize(
    ("version", "day", "holds"),
    [("v1.0.0", 5, True), ("v1.0.0", 4, True), ("v1.0.0", 2, False), ("v1.1.0", 5, False), (None, 5, False)],
)
def test_a_request_has_its_base_only_while_that_very_row_is_in_force(version, day, holds):
    rolled_back = {"version": "v1.0.0", "concluded_at": datetime(2026, 3, 4, tzinfo=UTC)}
    asked = {"released_version": version, "requested_at": datetime(2026, 3, day, tzinfo=UTC)}
    assert base_is_in_force(asked, rolled_back) is holds


def test_before_the_first_release_a_request_has_no_base_and_needs_none():
    asked = {"released_version": None, "requested_at": datetime(2026, 3, 2, tzinfo=UTC)}
    assert base_is_in_force(asked, None)
    assert not base_is_in_force({**asked, "released_version": "v1.0.0"}, None)
