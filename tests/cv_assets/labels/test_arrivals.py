"""The watched folder: nothing half-written is taken, nothing is taken twice, nothing is lost."""

import hashlib
import os
import tracemalloc

import pytest

from cv_assets.frames.files import Identity
from cv_assets.labels.arrivals import Attempt, ExportFile, export_key, find_export, look, plan, put_away
from cv_assets.labels.exports import ExportError

MANY = 1_000_000


def settled(folder, max_bytes=MANY):
    return look(folder, look(folder, [], max_bytes), max_bytes)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def export(name, content=b"{}"):
    return ExportFile(name, Identity(2, 0, 0, 0), sha256(content))


def test_a_key_is_readable_and_follows_from_name_and_content():
    assert export_key("batch 7 (final).json", "0123456789abcdef") == "batch-7-final-01234567"
    assert export_key("Müller_1.csv", "0123456789abcdef") == "M-ller_1-01234567"
    assert export_key("€.json", "0123456789abcdef") == "export-01234567"


def test_a_file_settles_when_it_was_the_same_at_two_looks(tmp_path):
    (tmp_path / "a.json").write_bytes(b"{}")
    first = look(tmp_path, [], MANY)
    assert [file.sha256 for file in first] == [""]
    (tmp_path / "a.json").write_bytes(b"[]")  # the same size
    second = look(tmp_path, first, MANY)
    assert [file.sha256 for file in second] == [""]
    assert [file.sha256 for file in look(tmp_path, second, MANY)] == [sha256(b"[]")]


def test_a_file_written_again_with_the_old_time_and_size_has_not_settled(tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(b"{}")
    first, times = look(tmp_path, [], MANY), file.stat()
    file.write_bytes(b"[]")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert [one.sha256 for one in look(tmp_path, first, MANY)] == [""]


def test_only_visible_regular_files_with_a_known_ending_are_exports(tmp_path):
    for name in ("a.json", "b.CSV", "c.parquet", ".d.json", "e.json.part", "f.txt"):
        (tmp_path / name).write_bytes(b"{}")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "a.json")
    assert [file.name for file in look(tmp_path, [], MANY)] == ["a.json", "b.CSV", "c.parquet"]


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    assert look(tmp_path / "exports", [], MANY) == []
    assert find_export(tmp_path / "exports", "a-01234567", MANY) is None


def test_new_content_is_taken_and_published_content_put_away():
    plans = plan(
        [export("a.json"), export("b.json", b"[]")], published={sha256(b"[]")}, attempts={}, at_most=9
    )
    assert [file.name for file in plans.take] == ["a.json"]
    assert [file.name for file in plans.put_away] == ["b.json"]


def test_the_same_content_is_taken_once_whatever_its_names():
    plans = plan([export("a.json"), export("b.json")], published=(), attempts={}, at_most=9)
    assert [file.name for file in plans.take] == ["a.json"]
    assert plans.waiting == ("b.json is the same as a.json",)


def test_the_same_name_with_other_content_is_another_export():
    assert export("a.json").key != export("a.json", b"[]").key


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("in progress", "a.json is being taken by run r1"),
        (
            "failed",
            "a.json was not taken: run r1 failed and says why. Correct the file, or execute the run again",
        ),
        ("finished", "a.json was taken by run r1, but is not in the lake: execute the run again"),
    ],
)
def test_an_export_with_a_run_waits_and_says_for_which(state, why):
    one = export("a.json")
    plans = plan([one], published=(), attempts={one.key: Attempt("r1", state)}, at_most=9)
    assert (plans.take, plans.waiting) == ((), (why,))


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("in progress", "a.json is being taken by run r1"),
        (
            "failed",
            "a.json is in the lake, but does not count yet: run r1 failed after it was published. Read why there, then "
            "re-execute it from failure",
        ),
    ],
)
def test_a_published_export_stays_until_its_labels_are_published_too(state, why):
    one = export("a.json")
    plans = plan([one], published={one.sha256}, attempts={one.key: Attempt("r1", state)}, at_most=9)
    assert (plans.put_away, plans.waiting) == ((), (why,))


def test_no_more_exports_are_in_progress_than_may_be():
    files = [export(f"{n}.json", b"%d" % n) for n in range(4)]
    running = {files[0].key: Attempt("r1", "in progress")}
    plans = plan(files, published=(), attempts=running, at_most=3)
    assert [file.name for file in plans.take] == ["1.json", "2.json"]
    assert plans.waiting[-1] == "3.json waits its turn"


def test_a_published_file_moves_to_taken_under_its_key(tmp_path):
    (tmp_path / "a.json").write_bytes(b"{}")
    (file,) = settled(tmp_path)
    assert put_away(tmp_path, file)
    assert (tmp_path / "taken" / f"{file.key}.json").read_bytes() == b"{}"
    assert look(tmp_path, [], MANY) == []


def test_a_file_written_again_since_stays(tmp_path):
    (tmp_path / "a.json").write_bytes(b"{}")
    (file,) = settled(tmp_path)
    (tmp_path / "a.json").write_bytes(b"new")
    assert not put_away(tmp_path, file)
    assert (tmp_path / "a.json").read_bytes() == b"new"


def test_an_export_is_found_again_by_its_key_as_long_as_its_content_is_the_same(tmp_path):
    (tmp_path / "batch 7.json").write_bytes(b"{}")
    (file,) = settled(tmp_path)
    assert find_export(tmp_path, file.key, MANY) == ("batch 7.json", b"{}")
    (tmp_path / "batch 7.json").write_bytes(b"[]")
    assert find_export(tmp_path, file.key, MANY) is None


def test_a_file_of_a_gigabyte_is_neither_read_by_the_sensor_nor_by_its_run(tmp_path):
    huge = tmp_path / "votes.json"
    with huge.open("wb") as stream:
        stream.truncate(1_000_000_000)
    tracemalloc.start()
    (file,) = settled(tmp_path)
    with pytest.raises(
        ExportError,
        match=r"^votes\.json: it has 1000\.0 MB: expected at most 1 MB \(`labels\.max_export_mb` of the spec\): split "
        "the export, or raise the limit",
    ):
        find_export(tmp_path, file.key, MANY)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    assert [one.name for one in plan([file], published=(), attempts={}, at_most=9).take] == ["votes.json"]


def test_a_large_export_is_read_once_the_limit_is_raised_and_is_another_when_it_changes(tmp_path):
    large = tmp_path / "votes.json"
    large.write_bytes(b"{}  ")
    (refused,) = settled(tmp_path, max_bytes=3)
    assert refused.sha256 not in ("", sha256(b"{}  "))
    (taken,) = look(tmp_path, [refused], 4)
    assert taken.sha256 == sha256(b"{}  ")
    assert find_export(tmp_path, taken.key, 4) == ("votes.json", b"{}  ")
    assert find_export(tmp_path, refused.key, 4) is None
    large.write_bytes(b"[]    ")
    assert settled(tmp_path, max_bytes=3)[0].key not in (refused.key, taken.key)
