"""A disk that fills up ends a run in a sentence, and with room the run is repeated with the same result."""

import errno
import os

import dagster as dg
import pytest
from run_results import failure

from proofs import disk_full
from proofs.small_disk import PAGE, NoMountError
from resources import git_lake


def prove(scene, *arguments):
    try:
        return scene(*arguments)
    except NoMountError as error:
        pytest.skip(str(error))


def test_a_publication_ends_in_a_sentence_wherever_the_disk_fills(tmp_path):
    scene = prove(disk_full.publication, tmp_path / "disk", 10, 8 * PAGE)
    assert scene.holds, vars(scene)
    assert scene.said == {
        "bulky: The disk of the lake in DATA/lake is full: make room there, then re-execute the run from failure. "
        "Nothing is half published.": scene.failed
    }


def test_what_the_lake_cannot_do_is_what_people_read_of_the_step(tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    place = disk_full.Place(tmp_path)
    with monkeypatch.context() as patched, dg.DagsterInstance.ephemeral() as instance:
        patched.setattr(git_lake, "_copy", no_space)
        result = place.publish(disk_full.bulky, instance)
    said = failure(result)
    assert said.startswith(
        f"dagster._core.definitions.events.Failure: The disk of the lake in {tmp_path}/lake is full:"
    )
    assert place.lake.branches().keys() == {"main"}
