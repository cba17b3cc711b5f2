"""Which commit published a table, and what it says of itself."""

import pytest
from by_hand import publish_by_hand

from resources.git_lake import GitLake
from resources.publications import Publications

LABELS = "tables/label_table.parquet"


@pytest.fixture
def lake(tmp_path):
    return GitLake(tmp_path / "lake")


def published(lake, asset, path, content, run, partition="", branch="main"):
    """Publish as a step does: written to a branch, then merged with what it says of itself."""
    said = {"asset": asset, "partition": partition, "run_id": run}
    lake.create_branch("work", lake.resolve(branch))
    commit = lake.merge(lake.commit("work", {path: content}, run, said), branch, run, said)
    lake.delete_branch("work")
    return commit


def test_a_table_was_published_by_the_newest_commit_that_names_it(lake):
    published(lake, "label_table", LABELS, b"1", "r1")
    second = published(lake, "label_table", LABELS, b"2", "r2")
    published(lake, "raw_frames", "tables/raw_frames/d1.parquet", b"3", "r3", "d1")
    found = Publications(lake).of(lake.resolve("main"), "label_table")
    assert (found.id, found.metadata["run_id"]) == (second, "r2")


def test_as_of_an_earlier_commit_it_was_the_one_before(lake):
    first = published(lake, "label_table", LABELS, b"1", "r1")
    published(lake, "label_table", LABELS, b"2", "r2")
    assert Publications(lake).of(first, "label_table").metadata["run_id"] == "r1"


def test_partitions_are_told_apart(lake):
    for key in ("d1", "d2"):
        published(lake, "raw_frames", f"tables/raw_frames/{key}.parquet", key.encode(), key, key)
    publications, head = Publications(lake), lake.resolve("main")
    assert [publications.of(head, "raw_frames", key).metadata["run_id"] for key in ("d2", "d1")] == [
        "d2",
        "d1",
    ]


def test_what_was_put_there_by_hand_is_found_and_names_no_run(lake):
    published(lake, "label_table", LABELS, b"1", "r1")
    publish_by_hand(lake, {LABELS: b"by hand"})
    by_hand = lake.resolve("main")
    published(lake, "raw_frames", "tables/raw_frames/d1.parquet", b"3", "r3", "d1")
    found = Publications(lake).of(lake.resolve("main"), "label_table")
    assert found.id == by_hand
    assert "run_id" not in found.metadata


def test_a_table_that_is_not_there_was_published_by_nobody(lake):
    assert Publications(lake).of(lake.resolve("main"), "label_table") is None


def test_a_candidates_table_was_published_on_its_branch_not_by_the_release_that_brought_it(lake):
    path = "tables/cnn_checkpoint/c1.parquet"
    lake.create_branch("candidate-c1", lake.resolve("main"))
    trained = published(lake, "cnn_checkpoint", path, b"weights", "training", "c1", branch="candidate-c1")
    lake.merge(trained, "main", "release", {"asset": "releases", "partition": "", "run_id": "release"})
    assert Publications(lake).of(trained, "cnn_checkpoint", "c1").metadata["run_id"] == "training"
