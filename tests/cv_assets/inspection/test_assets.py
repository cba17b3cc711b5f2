"""Verdicts and the line's file on a real embedded lake, by releases that a test puts in force."""

import hashlib
import json
import math
import shutil

import polars as pl
import pytest
from by_hand import edit_spec, publish_by_hand
from make_releases import Line, score_of
from run_results import checks, failure, metadata, passed

from resources.git_lake import GitLake
from resources.tables import Tables, parquet, table_path

CELLS = {"bright": 192, "grey": 128, "dark": 64, "blurred": "low_focus"}


@pytest.fixture
def line(tables, deployment, instance):
    return Line(tables, deployment, instance)


def files(line):
    return [file.name for file in line.outbox.iterdir()]


def told(line, delivery):
    return json.loads((line.outbox / f"{delivery}.json").read_text("utf-8"))


def test_every_capture_has_one_verdict_by_the_release_in_force(line):
    line.release("v1.0.0", lower=0.2, upper=0.9)
    line.deliver("d1", CELLS)
    result = line.inspect("d1", "inspections")
    assert all(passed(result).values()), passed(result)
    assert line.verdicts("d1") == {
        "bright": ("PASS", "below_lower"),
        "grey": ("REVIEW", "low_confidence"),
        "dark": ("FAIL", "above_upper"),
        "blurred": ("REVIEW", "frame_rejected"),
    }
    rows = line.tables.head().table("inspections", "d1")
    scores = rows["defect_score"].to_list()
    assert scores[:3] == pytest.approx([score_of(brightness) for brightness in (192, 128, 64)])
    assert rows["scores"].to_list()[0] == pytest.approx([1 - scores[0], scores[0]])
    assert (rows["latency_ms"].head(3) > 0).all()


def test_people_read_the_figures_the_release_and_its_band(line):
    line.release("v1.0.0")
    line.deliver("d1", CELLS)
    result = line.inspect("d1", "inspections")
    shown = metadata(result, "inspections")
    assert {name: shown[name] for name in ("captures", "PASS", "REVIEW", "FAIL", "review share")} == {
        "captures": 4, "PASS": 1, "REVIEW": 2, "FAIL": 1, "review share": 0.5
    }  # fmt: skip
    assert 0 < shown["latency p50 ms"] <= shown["latency p95 ms"]
    assert shown["release"] == "v1.0.0 (cnn of candidate-of-v1.0.0)"
    assert shown["operating band"].startswith("below 0.284 a part passes, from 0.641 on it fails")
    assert {"defect scores", "FAIL frames", "REVIEW frames"} <= shown.keys()
    assert checks(result)["a_release_is_in_force"].description == (
        "v1.0.0 decides: cnn of candidate-of-v1.0.0, concluded by quality.lead on 2026-03-02."
    )


def test_without_a_release_everything_goes_to_people_and_the_line_is_told_so(line):
    line.deliver("d1", CELLS)
    result = line.inspect("d1")
    assert result.success
    assert set(line.verdicts("d1").values()) == {("REVIEW", "no_release"), ("REVIEW", "frame_rejected")}
    said = checks(result)["a_release_is_in_force"]
    assert not said.passed
    assert said.description.startswith(
        "Nothing decides by itself: no release is in force. All 4 captures go to people."
    )
    assert [entry["release"] for entry in told(line, "d1")["verdicts"]] == [None] * 4
    assert "latency p50 ms" not in metadata(result, "inspections")


def test_frames_of_another_pass_go_to_people_whom_a_warning_tells_why(line):
    line.release("v1.0.0")
    line.deliver("d1", CELLS, digest="another")
    result = line.inspect("d1", "inspections")
    assert result.success
    assert line.verdicts("d1")["bright"] == ("REVIEW", "preparation_changed")
    said = checks(result)["one_preparation"]
    assert not said.passed
    assert "3 of 4 captures go to people for it: the frame went through the pass another" in said.description


def test_a_rollback_decides_by_the_earlier_model_and_band(line):
    line.release("v1.0.0", lower=0.2, upper=0.9)
    line.release("v1.1.0", lower=0.6, upper=0.9)
    line.release("v1.0.0", outcome="rolled_back", lower=0.2, upper=0.9)
    line.deliver("d1", {"grey": 128})
    assert line.inspect("d1", "inspections").success
    (row,) = line.tables.head().table("inspections", "d1").iter_rows(named=True)
    assert (row["release"], row["release_number"], row["verdict"]) == ("v1.0.0", 3, "REVIEW")


def test_a_refused_candidate_changes_nothing_of_what_is_in_force(line):
    line.release("v1.0.0")
    line.release("v1.1.0", outcome="refused", candidate="second")
    line.deliver("d1", {"grey": 128})
    assert line.inspect("d1", "inspections").success
    assert line.tables.head().table("inspections", "d1")["release"].to_list() == ["v1.0.0"]


@pytest.mark.parametrize(
    ("cells", "released"),
    [({"blurred": "low_focus", "shaken": "low_focus"}, True), ({"blurred": "low_focus"}, False), ({}, True)],
    ids=["none accepted", "none accepted and no release", "no capture"],
)
def test_a_delivery_without_accepted_frames_works_like_any_other_and_loads_no_model(line, cells, released):
    if released:
        line.release("v1.0.0")
    line.deliver("d1", cells)
    result = line.inspect("d1")
    assert result.success
    assert line.verdicts("d1") == dict.fromkeys(cells, ("REVIEW", "frame_rejected"))
    assert len(told(line, "d1")["verdicts"]) == len(cells)
    assert not [path for path in metadata(result, "inspections")["lake/reads"] if "safetensors" in path]
    again = line.inspect("d1")
    assert again.success
    assert metadata(again, "outbox")["told"].startswith("before")


def test_weights_other_than_those_that_were_released_decide_nothing(line):
    line.release("v1.0.0")
    (path,) = [
        path for path in line.tables.lake.paths(line.tables.head().commit, "cnn_checkpoint/candidate-of")
    ]
    line.put({path: line.tables.head().read(path).replace(b"bias", b"sias")})
    line.deliver("d1", CELLS)
    assert "the stored bytes have" in failure(line.inspect("d1"))
    assert not line.tables.head().has("inspections", "d1")
    assert not line.outbox.exists()


def test_a_capture_that_was_not_prepared_keeps_all_verdicts_back_and_is_shown(line):
    line.release("v1.0.0")
    line.deliver("d1", CELLS)
    prepared = line.tables.head().table("prepared_frames", "d1")
    line.put({table_path("prepared_frames", "d1"): parquet(prepared.head(3))})
    result = line.inspect("d1", "inspections")
    assert "it failed every_capture_has_one_verdict" in failure(result)
    said = checks(result)["every_capture_has_one_verdict"]
    assert said.description.startswith("4 captures, 3 verdicts: 1 missing")
    assert said.metadata["offenders"].value.records[0].data["capture_id"] == "d1-blurred"


def test_inspecting_again_changes_nothing_in_the_lake(line):
    line.release("v1.0.0")
    line.deliver("d1", CELLS)
    line.inspect("d1")
    head, before = line.tables.head().commit, line.tables.head().table("inspections", "d1")
    result = line.inspect("d1")
    assert result.success
    assert line.tables.head().commit == head
    assert line.tables.head().table("inspections", "d1").equals(before)
    assert checks(result)["verdicts_are_written_once"].description == (
        "All 4 verdicts are those that were given before: nothing changes."
    )


def test_a_later_release_judges_no_earlier_delivery_and_the_refusal_points_to_the_replay(line):
    line.release("v1.0.0", lower=0.2, upper=0.9)
    line.deliver("d1", CELLS)
    line.inspect("d1")
    head, file = line.tables.head().commit, (line.outbox / "d1.json").read_bytes()
    line.release("v1.1.0", lower=0.6, upper=0.9)
    result = line.inspect("d1")
    assert "it failed verdicts_are_written_once" in failure(result)
    said = checks(result)["verdicts_are_written_once"].description
    assert "1 of 4 verdicts would be others: grey REVIEW (low_confidence) → PASS (below_lower)." in said
    assert "They were given under v1.0.0; v1.1.0 is in force now." in said
    assert "`replay_thresholds` (asset `threshold_replay`)" in said
    assert line.tables.head().table("inspections", "d1")["release"].unique().to_list() == ["v1.0.0"]
    assert not line.tables.lake.diff(head, line.tables.head().commit, table_path("inspections", "d1"))
    assert (line.outbox / "d1.json").read_bytes() == file


def test_scores_that_differ_by_rounding_leave_the_first_ones_standing(line):
    line.release("v1.0.0")
    line.deliver("d1", CELLS)
    line.inspect("d1", "inspections")
    path = table_path("inspections", "d1")
    rounded = line.tables.head().table("inspections", "d1").with_columns(pl.col("defect_score") * (1 + 1e-9))
    line.put({path: parquet(rounded)})
    assert line.inspect("d1", "inspections").success
    assert line.tables.head().table("inspections", "d1").equals(rounded)


def test_a_spec_whose_passing_class_the_model_does_not_know_sends_everything_to_people(line, deployment):
    line.release("v1.0.0")
    edit_spec(deployment, "name: sound", "name: good")
    line = Line(line.tables, deployment, line.instance)
    line.deliver("d1", {"bright": 192})
    result = line.inspect("d1", "inspections")
    assert line.verdicts("d1") == {"bright": ("REVIEW", "no_release")}
    assert not passed(result)["a_release_is_in_force"]
    assert not [path for path in metadata(result, "inspections")["lake/reads"] if "safetensors" in path]


def test_a_spec_that_lets_another_class_pass_turns_no_verdict_round(line, deployment):
    line.release("v1.0.0")
    edit_spec(deployment, "    passes: true\n", "")
    edit_spec(deployment, "  - name: defective\n", "  - name: defective\n    passes: true\n")
    line = Line(line.tables, deployment, line.instance)
    line.deliver("d1", CELLS)
    result = line.inspect("d1", "inspections")
    assert set(line.verdicts("d1").values()) == {("REVIEW", "no_release"), ("REVIEW", "frame_rejected")}
    assert (
        "v1.0.0 was released with `sound` as the class that passes; by the spec now it is `defective`. All 4 captures "
        "go to people." in checks(result)["a_release_is_in_force"].description
    )


def test_a_model_that_gives_no_probabilities_keeps_no_verdict_back_and_a_warning_says_what_to_do(line):
    line.release("v1.0.0", bias=(math.nan, 0.0))
    line.deliver("d1", CELLS)
    result = line.inspect("d1")
    assert result.success
    assert line.verdicts("d1")["bright"] == ("REVIEW", "no_score")
    assert line.verdicts("d1")["blurred"] == ("REVIEW", "frame_rejected")
    said = checks(result)["every_score_is_a_probability"]
    assert not said.passed
    assert said.description.startswith(
        "3 of 3 frames that cnn of v1.0.0 looked at go to people for it; of part bright the model gave nan, nan;"
    )
    assert "Roll back to an earlier version (job `roll_back`)" in said.description
    assert said.metadata["offenders"].value.records[0].data["part"] == "bright"
    assert [one["defect_score"] for one in told(line, "d1")["verdicts"]] == [None] * 4


def test_a_released_model_that_the_lake_lacks_is_named_with_what_to_do(line):
    line.release("v1.0.0")
    line.deliver("d1", CELLS)
    history = line.tables.head().table("releases").with_columns(candidate=pl.lit("lost"))
    line.put({table_path("releases"): parquet(history)})
    said = failure(line.inspect("d1"))
    assert "The lake lacks cnn_checkpoint[lost], the model of v1.0.0, which is in force" in said
    assert "roll back to an earlier version (job `roll_back`)" in said


def test_a_rollback_to_the_release_that_judged_a_delivery_changes_nothing_of_it(line):
    line.release("v1.0.0", lower=0.2, upper=0.9)
    line.deliver("d1", CELLS)
    line.inspect("d1")
    line.release("v1.1.0", lower=0.6, upper=0.9)
    line.release("v1.0.0", outcome="rolled_back", lower=0.2, upper=0.9)
    result = line.inspect("d1")
    assert result.success
    assert "nothing changes" in checks(result)["verdicts_are_written_once"].description
    assert line.tables.head().table("inspections", "d1")["release_number"].to_list() == [1] * 4


def test_verdicts_that_stand_untold_can_be_told_though_another_release_is_in_force(line):
    line.release("v1.0.0", lower=0.2, upper=0.9)
    line.deliver("d1", CELLS)
    line.inspect("d1", "inspections")
    line.release("v1.1.0", lower=0.6, upper=0.9)
    refused = checks(line.inspect("d1"))["verdicts_are_written_once"].description
    assert refused.endswith("to tell it, materialize `outbox` of this delivery alone.")
    assert line.inspect("d1", "outbox").success
    assert {one["release"] for one in told(line, "d1")["verdicts"]} == {"v1.0.0"}


def test_the_line_finds_one_whole_file_and_its_table_says_when(line):
    line.release("v1.0.0")
    line.deliver("d1", CELLS)
    result = line.inspect("d1")
    assert files(line) == ["d1.json"]
    said, rows = told(line, "d1"), line.tables.head().table("outbox", "d1")
    assert {
        entry["part"]: (entry["verdict"], entry["reason"]) for entry in said["verdicts"]
    } == line.verdicts("d1")
    assert rows["file_sha256"].unique().to_list() == [
        hashlib.sha256((line.outbox / "d1.json").read_bytes()).hexdigest()
    ]
    waited = [(one["told_at"] - one["arrived_at"]).total_seconds() for one in rows.iter_rows(named=True)]
    assert rows["seconds"].to_list() == pytest.approx(waited)
    assert (rows["told_at"] >= rows["decided_at"]).all()
    shown = metadata(result, "outbox")
    assert shown["file to verdict p50 s"] <= shown["file to verdict p95 s"]
    assert (
        checks(result)["every_verdict_is_told"].description == "The file holds all 4 verdicts of the table."
    )


def test_a_delivery_that_was_told_is_not_told_again_though_the_line_took_the_file(line):
    line.release("v1.0.0")
    line.deliver("d1", CELLS)
    line.inspect("d1")
    head = line.tables.head().commit
    (line.outbox / "d1.json").unlink()
    result = line.inspect("d1")
    assert result.success
    assert not files(line)
    assert line.tables.head().commit == head


def test_a_crash_between_the_file_and_its_table_writes_the_same_bytes_again(line, deployment):
    line.release("v1.0.0")
    line.deliver("d1", CELLS)
    line.inspect("d1", "inspections")
    shutil.copytree(deployment.data_dir / "lake", deployment.data_dir / "crashed")
    line.inspect("d1", "outbox")
    first = (line.outbox / "d1.json").read_bytes()
    # The lake as a crash would have left it: the verdicts are published, what the line was told is not.
    crashed = Line(Tables(deployment, GitLake(deployment.data_dir / "crashed")), deployment, line.instance)
    assert not crashed.tables.head().has("outbox", "d1")
    assert crashed.inspect("d1", "outbox").success
    assert (line.outbox / "d1.json").read_bytes() == first
    assert files(line) == ["d1.json"]


def test_an_experiment_on_another_data_branch_tells_the_line_nothing(line):
    line.release("v1.0.0")
    line.deliver("d1", CELLS)
    before = line.tables.head().commit
    line.inspect("d1")
    told_first = (line.outbox / "d1.json").read_bytes()
    experiment = line.on("other-band", before)
    history = experiment.tables.head().table("releases").with_columns(version=pl.lit("v9.0.0"))
    publish_by_hand(line.tables.lake, {table_path("releases"): parquet(history)}, "other-band")
    assert experiment.inspect("d1").success
    assert (line.outbox / "d1.json").read_bytes() == told_first
    its_own = json.loads((line.outbox / "other-band" / "d1.json").read_text("utf-8"))
    assert {one["release"] for one in its_own["verdicts"]} == {"v9.0.0"}


def test_nothing_is_told_of_a_delivery_when_a_capture_with_a_verdict_is_not_in_raw_frames(line):
    line.release("v1.0.0")
    line.deliver("d1", CELLS)
    line.inspect("d1", "inspections")
    line.put({table_path("raw_frames", "d1"): parquet(line.tables.head().table("raw_frames", "d1")[1:])})
    result = line.inspect("d1", "outbox")
    assert not result.success
    assert not files(line)
    assert not line.tables.head().has("outbox", "d1")
    said = checks(result)["every_verdict_is_told"]
    assert said.description.startswith(
        "Nothing was told: capture d1-bright has a verdict but is not in raw_frames, as 1 of 4 are not."
    )


def test_an_outbox_outside_the_data_folder_that_is_missing_is_not_made(line, deployment):
    line.deliver("d1", CELLS)
    line.inspect("d1", "inspections")
    text = deployment.spec_file.read_text("utf-8") + "\ninspection:\n  outbox: ../mounted/outbox\n"
    deployment.spec_file.write_text(text, "utf-8")
    line = Line(line.tables, deployment, line.instance)
    said = failure(line.inspect("d1", "outbox"))
    assert "mounted/outbox is not there, perhaps unmounted. Nothing is lost: mend it and re-execute" in said
    line.outbox.mkdir(parents=True)
    assert line.inspect("d1", "outbox").success
    assert files(line) == ["d1.json"]


def test_an_outbox_that_cannot_be_written_keeps_the_delivery_open(line):
    line.deliver("d1", CELLS)
    line.outbox.write_text("a file where the folder should be")
    said = failure(line.inspect("d1"))
    assert "outbox is a file, expected a folder. Nothing is lost: mend it and re-execute the run" in said
    assert not line.tables.head().has("outbox", "d1")
    assert line.tables.head().has("inspections", "d1")
