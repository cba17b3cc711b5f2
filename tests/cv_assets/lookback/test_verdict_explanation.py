"""An explanation from its question to its page, on a real embedded lake without a training."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from by_hand import publish_by_hand
from make_releases import Line, delivered
from run_results import checks, failure, metadata

from cv_assets.lookback.__main__ import file_name, main
from cv_assets.lookback.assets import verdict_explanation
from jobs.explain import explain
from resources.partitions import deliveries
from resources.tables import parquet, table_path


@pytest.fixture
def line(tables, deployment, instance):
    """Two parts that were seen before any release."""
    line = Line(tables, deployment, instance)
    line.deliver("d1", {"bright": 192, "blurred": "low_focus"})
    assert line.inspect("d1").success
    return line


@pytest.fixture
def ask(materialize):
    def asked(part) -> dg.ExecuteInProcessResult:
        config = {"ops": {"verdict_explanation": {"config": {"part": part}}}}
        return materialize([verdict_explanation], run_config=config, raise_on_error=False)

    return asked


def test_a_part_seen_before_any_release_has_a_page_that_says_so(ask, line):
    result = ask("bright")
    assert result.success
    said = metadata(result, "verdict_explanation")
    assert said["verdict"] == "REVIEW"
    assert (said["release"], said["approver"]) == ("none", "none")
    assert "no model looked at it" in said["in short"]
    page = line.tables.head().read(said["html page"]).decode()
    assert page.count("data:image/png;base64,") == 2
    assert {name: one.passed for name, one in checks(result).items()} == {
        "follows_its_contract": True,
        "every_link_is_there": True,
        "links_agree": True,
        "every_link_names_its_run": False,
    }, "the frames were put there by hand"


def test_asking_changes_no_other_table(ask, line):
    before = line.tables.head()
    ask("bright")
    after = line.tables.head()
    changed = {change.path.split("/")[0] for change in after.lake.diff(before.commit, after.commit)}
    assert changed == {"tables", "verdict_explanation"}
    tables = [change.path for change in after.lake.diff(before.commit, after.commit, "tables/")]
    assert tables == [table_path("verdict_explanation")]


def test_an_unknown_part_is_refused_with_what_is_near(ask, line):
    said = failure(ask("brihgt"))
    assert "No part 'brihgt' was received; 2 parts are known. Is one of these meant: bright?" in said


def test_a_chain_with_a_lost_link_is_not_published_and_says_which(ask, line):
    # The candidate as of this commit: it holds no checkpoint yet.
    line.release(candidate_commit=line.tables.head().commit)
    line.deliver("d2", {"dark": 64})
    assert line.inspect("d2").success
    result = ask("dark")
    assert not result.success
    answer = checks(result)["every_link_is_there"]
    assert not answer.passed
    lost = {record.data["path"] for record in answer.metadata["offenders"].records}
    assert table_path("cnn_checkpoint", "candidate-of-v1.0.0") in lost
    assert not line.tables.head().has("verdict_explanation")


def test_a_release_whose_commit_is_lost_is_explained_as_far_as_it_goes(ask, line):
    line.release(candidate_commit="c" * 40)
    line.deliver("d2", {"dark": 64})
    assert line.inspect("d2").success
    result = ask("dark")
    assert not result.success
    offenders = checks(result)["every_link_is_there"].metadata["offenders"].records
    assert {record.data["commit"] for record in offenders} == {"c" * 40}


def test_a_picture_whose_bytes_are_lost_keeps_the_explanation_from_being_published(ask, line):
    head = line.tables.head()
    stored = head.fetch(head.table("raw_frames", "d1").filter(part="blurred")["path"][0])
    stored.unlink()
    result = ask("blurred")
    assert not result.success
    assert checks(result)["every_link_is_there"].metadata["rows"].value == 1
    wrong = checks(result)["links_agree"].description
    assert wrong == "Not so, 1 of 2: the bytes of the raw frame line1_cam1_blurred.png are there, whole."


def test_a_picture_that_was_let_go_is_no_lost_link_and_the_page_says_when(ask, line):
    head = line.tables.head()
    path = head.table("raw_frames", "d1").filter(part="blurred")["path"][0]
    gone = pl.DataFrame(
        {"path": [path], "rule": ["frames_days: 30"], "let_go_at": [datetime(2026, 5, 1, tzinfo=UTC)]}
    ).with_columns(kind=pl.lit("raw frame"), belongs_to=pl.lit("d1"))
    line.tables.lake.create_branch("goes", head.commit)
    commit = line.tables.lake.commit("goes", {table_path("let_go"): parquet(gone)}, "let go", {}, [path])
    line.tables.lake.merge(commit, "main", "let go", {})
    head.fetch(path).unlink()
    result = ask("blurred")
    assert result.success
    assert all(one.passed for name, one in checks(result).items() if name != "every_link_names_its_run")
    page = line.tables.head().read(metadata(result, "verdict_explanation")["html page"]).decode()
    assert "its bytes were let go on 2026-05-01 by the rule" in page
    assert "as it was taken" not in page


def test_bytes_that_are_not_what_their_name_says_are_noticed(ask, line):
    raw, prepared, files = delivered("d2", {"swapped": 64}, line.digest)
    line.instance.add_dynamic_partitions(deliveries.name, ["d2"])
    tables = {table_path("raw_frames", "d2"): raw, table_path("prepared_frames", "d2"): prepared}
    swapped = {raw["path"][0]: b"another picture"}
    line.put({**{path: parquet(rows) for path, rows in tables.items()}, **files, **swapped})
    assert line.inspect("d2").success
    result = ask("swapped")
    assert result.success, "the page that says so is worth having"
    said = checks(result)["links_agree"]
    assert not said.passed
    assert said.description.startswith("Not so, 1 of 3: the bytes of the raw frame line1_cam1_swapped.png")


def test_bytes_that_were_exchanged_after_the_verdict_do_not_change_its_explanation(ask, line):
    path = line.tables.head().table("raw_frames", "d1")["path"][0]
    publish_by_hand(line.tables.lake, {path: b"another picture"})
    assert line.tables.head().read(path) == b"another picture"
    assert checks(ask("bright"))["links_agree"].passed


def test_the_job_says_what_to_give():
    assert "give `part`" in explain.description


def test_the_command_prints_the_page_and_writes_it_as_html(line, deployment, capsys):
    assert main(["bright"], deployment) == 0
    printed = capsys.readouterr().out
    assert "Why part bright was sent to people" in printed
    file = deployment.data_dir / "explanations" / "bright.html"
    assert str(file) in printed
    assert b"data:image/png;base64," in file.read_bytes()


def test_the_command_writes_where_it_is_told(line, deployment, capsys, tmp_path):
    assert main(["--out", str(tmp_path / "new" / "page.html"), "--", "bright"], deployment) == 0
    assert (tmp_path / "new" / "page.html").is_file()


def test_the_command_refuses_an_unknown_part_in_words(line, deployment, capsys):
    assert main(["brihgt"], deployment) == 1
    assert capsys.readouterr().err.startswith("No part 'brihgt' was received; 2 parts are known.")
    assert main([""], deployment) == 1
    assert capsys.readouterr().err == "Which part? For example: make explain PART=m07c012\n"


def test_a_page_that_cannot_be_written_is_printed_all_the_same_and_said(line, deployment, capsys, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    for out in (tmp_path, tmp_path / "link", Path("/proc/none/page.html")):
        assert main(["--out", str(out), "--", "bright"], deployment) == 1
        printed = capsys.readouterr()
        assert "Why part bright was sent to people" in printed.out
        assert printed.err.startswith(f"The page cannot be written to {out}: ")
    assert (tmp_path / "link").is_symlink()


def test_a_question_makes_no_lake_where_there_is_none(deployment, capsys, tmp_path):
    elsewhere = replace(deployment, data_dir=tmp_path / "typo")
    assert main(["bright"], elsewhere) == 1
    assert capsys.readouterr().err == (
        f"There is no lake in {tmp_path / 'typo' / 'lake'}.\n"
        f"The data folder is {tmp_path / 'typo'}; CV_DATA names another.\n"
    )
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize("part", ["../../etc/passwd", "a b", "-", "Ü", "x" * 300])
def test_any_part_gives_a_plain_file_name(part):
    name = file_name(part)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", name)
    assert len(name) < 100
    assert name != file_name(part + "?")
