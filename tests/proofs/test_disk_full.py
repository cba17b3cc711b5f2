"""A disk that fills up ends a run in a sentence, and with room the run is repeated with the same result."""

import errno
import os

import dagster as dg
import pytest
from run_results import failure

from proofs import disk_full
from proofs.small_disk import PAGE, NoMountError
from resources import git_lake
from resources.git_lake import GitLake
from resources.lake import LakeError


def prove(scene, *arguments):
    try:
        return scene(*arguments)
    except NoMountError as error:
        pytest.skip(str(error))


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_publication_ends_in_a_sentence_wherever_the_disk_fills(tmp_path):
    scene = prove(disk_full.publication, tmp_path / "disk", 10, 8 * PAGE)
    assert scene.holds, vars(scene)
    assert scene.said == {
        "bulky: The disk of the lake in DATA/lake is full: make room there, then re-execute the run from failure. "
        "Nothing is half published.": scene.failed
    }


def test_a_look_at_the_inbox_says_that_the_disk_is_full(tmp_path):
    scene = prove(disk_full.inbox_watched, tmp_path / "disk")
    assert scene.holds, vars(scene)


@pytest.mark.parametrize("step", ["_copy", "_sync", "_write_commit"])
def test_without_room_nothing_changes_and_a_sentence_says_what_to_do(tmp_path, monkeypatch, step):
    lake = GitLake(tmp_path / "lake")
    lake.create_branch("work", head := lake.resolve("main"))
    with monkeypatch.context() as patched:
        patched.setattr(git_lake, step, no_space)
        with pytest.raises(
            LakeError, match=r"is full: make room there, then re-execute the run from failure"
        ):
            lake.commit("work", {"a": b"1"}, "m", {})
    assert lake.resolve("work") == head
    assert not list((tmp_path / "lake").rglob("tmp/*"))
    assert not list((tmp_path / "lake").rglob("refs/**/*.lock"))
    assert lake.read(lake.commit("work", {"a": b"1"}, "m", {}), "a") == b"1"


def test_another_error_of_the_disk_keeps_its_own_words(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    lake = GitLake(tmp_path / "lake")
    lake.create_branch("work", lake.resolve("main"))
    monkeypatch.setattr(git_lake, "_copy", broken)
    with pytest.raises(OSError, match="Input/output error"):
        lake.commit("work", {"a": b"1"}, "m", {})


def test_what_the_lake_cannot_do_is_what_people_read_of_the_step(tmp_path, monkeypatch):
    place = disk_full.Place(tmp_path)
    with monkeypatch.context() as patched, dg.DagsterInstance.ephemeral() as instance:
        patched.setattr(git_lake, "_copy", no_space)
        result = place.publish(disk_full.bulky, instance)
    said = failure(result)
    assert said.startswith(
        f"dagster._core.definitions.events.Failure: The disk of the lake in {tmp_path}/lake is full:"
    )
    assert place.lake.branches().keys() == {"main"}
