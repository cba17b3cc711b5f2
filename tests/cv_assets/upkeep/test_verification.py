"""A lake that is as it was written, and each way in which it may not be."""

import errno
import hashlib
import os
import re
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest
from by_hand import publish_by_hand
from run_results import metadata, passed

from cv_assets.training.schema import Checkpoint
from cv_assets.upkeep.__main__ import main
from cv_assets.upkeep.assets import lake_verification
from cv_assets.upkeep.contracts import CONTRACTS
from cv_assets.upkeep.verification import POINTERS, in_words, verify
from resources.deployments import Deployment
from resources.git_lake import GitLake
from resources.lake import DamagedError, Lake
from resources.tables import parquet, table_path

TABLE = "tables/raw_frames/d1.parquet"


@dataclass
class Store:
    """A lake, and the folders in which its bytes lie."""

    lake: Lake
    folders: list[Path]
    frames: list[bytes] = field(default_factory=lambda: [f"frame {uuid.uuid4()}".encode() for _ in range(2)])

    def publish(self, **changed: list[str]) -> str:
        """Two raw frames and their table, in which `changed` replaces columns; the commit."""
        ids = [hashlib.sha256(frame).hexdigest() for frame in self.frames]
        paths = [f"raw_frames/d1/{frame_id}.png" for frame_id in ids]
        rows = {"capture_id": ["c1", "c2"], "frame_id": ids, "path": paths, **changed}
        objects = dict(zip(paths, self.frames, strict=True))
        publish_by_hand(self.lake, {**objects, TABLE: parquet(pl.DataFrame(rows))})
        return self.lake.resolve("main")

    def file_of(self, content: bytes) -> Path:
        """Where an object lies on disk."""
        every = [file for folder in self.folders for file in folder.rglob("*") if file.is_file()]
        files = [file for file in every if file.read_bytes() == content]
        assert len(files) == 1
        files[0].chmod(0o644)
        return files[0]


@pytest.fixture(params=["embedded", pytest.param("lakefs", marks=pytest.mark.lakefs)])
def store(request, tmp_path, tmp_path_factory):
    if request.param == "embedded":
        return Store(GitLake(tmp_path / "lake"), [tmp_path / "lake"])
    if os.environ.get("LAKEFS_ENDPOINT"):
        pytest.skip("the disk of that lakeFS server is not ours to damage")
    lake = request.getfixturevalue("new_repository")()
    servers = tmp_path_factory.getbasetemp().glob("lakefs[0-9]*/server")
    return Store(lake, [server / "block" for server in servers])


@pytest.fixture
def embedded(tmp_path):
    return Store(GitLake(tmp_path / "lake"), [tmp_path / "lake"])


def problems(store, ref=""):
    """Path, row, number of rows and what is wrong, of each problem."""
    found = verify(store.lake, ref)
    return found.problems.select("path", "row", "rows", "wrong").rows()


def test_a_lake_that_is_as_it_was_written_has_no_problem(store):
    found = verify(store.lake, store.publish())
    assert found.problems.is_empty()
    assert (found.states, found.objects, found.pointing) == (1, 3, 2)
    assert in_words(found) == "3 objects of 1 state read, 2 rows followed: all is as it was written."


def test_a_changed_byte_is_named_with_the_row_that_points_there(store):
    commit = store.publish()
    file = store.file_of(store.frames[0])
    file.write_bytes(b"F" + store.frames[0][1:])
    ((path, row, rows, wrong),) = problems(store, commit)
    assert path.endswith(f"{hashlib.sha256(store.frames[0]).hexdigest()}.png")
    assert (row, rows) == ("capture_id=c1", 1)
    assert "damaged" in wrong


def test_an_object_cut_short_is_named(store):
    commit = store.publish()
    file = store.file_of(store.frames[1])
    file.write_bytes(store.frames[1][:-5])
    ((_, row, _, wrong),) = problems(store, commit)
    assert row == "capture_id=c2"
    assert "damaged" in wrong


def test_a_lost_object_is_named(store):
    commit = store.publish()
    store.file_of(store.frames[0]).unlink()
    ((_, row, _, wrong),) = problems(store, commit)
    assert row == "capture_id=c1"
    assert "lost" in wrong


def test_a_row_that_states_another_hash_is_named_and_the_object_is_not(store):
    true, other = hashlib.sha256(store.frames[1]).hexdigest(), "0" * 64
    commit = store.publish(frame_id=[other, true])
    ((path, row, _, wrong),) = problems(store, commit)
    found = hashlib.sha256(store.frames[0]).hexdigest()
    assert (path, row) == (f"raw_frames/d1/{found}.png", "capture_id=c1")
    assert wrong == f"The row states the sha256 {other}, its bytes have {found}."


def test_a_row_that_points_to_nothing_is_named_once_with_how_many_do(embedded):
    commit = embedded.publish(path=["raw_frames/d1/gone.png"] * 2)
    assert problems(embedded, commit) == [
        ("raw_frames/d1/gone.png", "capture_id=c1", 2, "There is no such object at this commit.")
    ]


def test_an_object_under_the_name_of_other_bytes_is_named_though_no_row_points_there(embedded):
    name = f"evaluation_report/c/scores-{hashlib.sha256(b'these').hexdigest()}.parquet"
    publish_by_hand(embedded.lake, {name: b"those"})
    ((path, row, rows, wrong),) = problems(embedded)
    assert (path, row, rows) == (name, "", 0)
    assert hashlib.sha256(b"those").hexdigest() in wrong


def test_a_damaged_table_is_named_and_stops_nothing(embedded):
    embedded.publish()
    table = embedded.lake.fetch("main", TABLE)
    table.chmod(0o644)
    table.write_bytes(b"no table at all")
    ((path, _, _, wrong),) = problems(embedded)
    assert path == TABLE
    assert "damaged" in wrong


def test_what_was_put_in_the_place_of_a_table_and_is_none_is_named(embedded):
    publish_by_hand(embedded.lake, {TABLE: b"no table at all, but written so"})
    ((path, _, _, wrong),) = problems(embedded)
    assert path == TABLE
    assert wrong.startswith("It is no table: ")


def test_a_state_that_a_row_names_is_verified_too(embedded):
    first = embedded.publish()
    rows = pl.DataFrame({"candidate": ["c"], "base_commit": [first]})
    publish_by_hand(embedded.lake, {table_path("training_request", "c"): parquet(rows)})
    found = verify(embedded.lake, "main")
    assert (found.states, found.problems.height) == (2, 0)


def test_a_row_that_names_a_commit_which_is_not_there_is_named(embedded):
    rows = pl.DataFrame({"candidate": ["c"], "base_commit": ["1" * 40]})
    publish_by_hand(embedded.lake, {table_path("training_request", "c"): parquet(rows)})
    ((path, row, _, wrong),) = problems(embedded)
    assert (path, row) == ("1" * 40, "candidate=c")
    assert "does not hold" in wrong


def test_what_only_another_branch_holds_is_verified_with_all_and_read_once(embedded):
    main = embedded.publish()
    embedded.lake.create_branch("refused-x", main)
    embedded.lake.commit("refused-x", {"refused.bin": b"refused bytes"}, "refused", {})
    embedded.lake.tag("v1.0.0", main)
    embedded.file_of(b"refused bytes").write_bytes(b"refused BYTES")
    assert problems(embedded, main) == []
    found = verify(embedded.lake)
    assert found.problems["path"].to_list() == ["refused.bin"]
    assert (found.states, found.objects) == (2, 4)


def test_a_table_that_another_branch_shares_is_held_to_what_that_branch_has(embedded):
    embedded.publish()
    name = f"raw_frames/d1/{hashlib.sha256(embedded.frames[0]).hexdigest()}.png"
    embedded.lake.create_branch("refused-x", "main")
    embedded.lake.commit("refused-x", {name: b"another picture"}, "refused", {})
    by_its_name, by_the_row = problems(embedded)
    assert by_its_name[:3] == (name, "", 0)
    assert by_the_row[:3] == (name, "capture_id=c1", 1)
    assert by_the_row[3].startswith("The row states the sha256")


def test_bytes_that_only_an_older_commit_holds_are_read(store):
    publish_by_hand(store.lake, {"report.bin": b"the first report"})
    publish_by_hand(store.lake, {"report.bin": b"the second report"})
    assert verify(store.lake).objects == 2
    store.file_of(b"the first report").write_bytes(b"another bit here")
    assert problems(store, "main") == []
    ((path, _, _, wrong),) = problems(store)
    assert path == "report.bin"
    assert "damaged" in wrong


def test_an_object_of_git_that_is_cut_short_is_named_before_anything_waits_for_its_end(embedded):
    head = embedded.publish()
    file = embedded.lake.root / "repo.git" / "objects" / head[:2] / head[2:]
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-6])
    with pytest.raises(DamagedError, match=f"{head[2:]} is cut short: restore it from a copy of the lake"):
        verify(embedded.lake)


def test_an_object_of_git_that_is_rotten_or_lost_is_named_and_stops_nothing(embedded):
    old = embedded.publish()
    publish_by_hand(embedded.lake, {"more.bin": b"more"})
    file = embedded.lake.root / "repo.git" / "objects" / old[:2] / old[2:]
    file.unlink()
    lake = Store(GitLake(embedded.lake.root.rename(embedded.lake.root.with_name("copy"))), [])
    said = [wrong for *_, wrong in problems(lake)]
    assert any(f"objects/{old[:2]}/{old[2:]} is damaged or lost" in one for one in said)


def test_an_emptied_branch_file_is_told_in_a_sentence(embedded, tmp_path, capsys):
    embedded.publish()
    (tmp_path / "lake" / "repo.git" / "refs" / "heads" / "main").write_text("")
    deployment = Deployment(tmp_path / "spec.yaml", tmp_path, "main", "http://127.0.0.1:3000")
    assert main(["verify"], deployment) == 1
    assert "refs/heads/main" in capsys.readouterr().err


def test_a_file_that_the_disk_cannot_read_is_named_and_stops_nothing(embedded, monkeypatch):
    embedded.publish()
    whole = GitLake.sha256

    def sha256(lake, commit, path):
        if path == TABLE:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return whole(lake, commit, path)

    monkeypatch.setattr(GitLake, "sha256", sha256)
    ((path, _, _, wrong),) = problems(embedded, "main")
    assert path == TABLE
    assert "Input/output error" in wrong


def test_where_there_is_no_lake_nothing_is_verified_and_none_is_made(tmp_path, capsys):
    deployment = Deployment(tmp_path / "spec.yaml", tmp_path, "main", "http://127.0.0.1:3000")
    assert main(["verify"], deployment) == 1
    assert "There is no lake" in capsys.readouterr().err
    assert not deployment.embedded_lake.exists()


def test_the_command_tells_each_problem_on_a_line_and_ends_with_1(embedded, tmp_path, capsys):
    deployment = Deployment(tmp_path / "spec.yaml", tmp_path, "main", "http://127.0.0.1:3000")
    embedded.publish()
    assert main(["verify"], deployment) == 0
    assert "all is as it was written" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "lake" / "repo.git" / "lfs" / "objects")
    (tmp_path / "lake" / "repo.git" / "lfs" / "objects").mkdir()
    assert main(["verify"], deployment) == 1
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 4
    assert told[-1].endswith("3 problems with 3 objects.")


def test_the_asset_tells_what_is_wrong_and_its_check_fails(materialize, tables):
    store = Store(tables.lake, [tables.lake.root])
    store.publish()
    assert passed(materialize([lake_verification]))["everything_is_as_written"]
    store.file_of(store.frames[0]).write_bytes(b"something else")
    result = materialize([lake_verification])
    assert not passed(result)["everything_is_as_written"]
    assert tables.head().table("lake_verification")["row"].to_list() == ["capture_id=c1"]
    assert metadata(result, "lake_verification")["problems"] == 1


def test_every_column_whose_contract_says_where_something_is_is_followed():
    says_where = {
        (asset, name)
        for asset, contract in CONTRACTS.items()
        for name, column in contract.columns().items()
        if re.match("Where (?!captured_at).* (is|are)\\b|The object that", column.description or "")
    }
    checkpoint = {("*_checkpoint", "weights"), ("*_checkpoint", "backbone")}
    assert says_where | checkpoint == {(one.table, one.column) for one in POINTERS}
    assert {"weights", "backbone"} <= Checkpoint.columns().keys()
