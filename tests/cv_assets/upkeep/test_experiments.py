"""An experiment beside a production, on both lakes: what is its own, what it never touches, and what is left of it."""

from dataclasses import replace

import dagster as dg
import dataframely as dy
import polars as pl
import pytest
from by_hand import publish_by_hand

from cv_assets.spec.load import load_spec
from cv_assets.upkeep.__main__ import main
from cv_assets.upkeep.branches import cut, differences, other_files
from cv_assets.upkeep.experiments import begin, drop, experiment, name_mistake, refs, running, started
from resources.catalogue import tell
from resources.contracts import Audited, Check, TableAsset
from resources.lake import LakeError
from resources.partitions import asset_key, candidates, deliveries
from resources.tables import Snapshot, Tables, candidate_branch, parquet, served, table_path


class Parts(dy.Schema):
    part = dy.String(primary_key=True)


IS_ROUND = Check("is_round", "Is it round?")
PARTS = TableAsset("parts", Parts, step="frames", partitions=deliveries, checks=(IS_ROUND,))


class Answer(dg.Config):
    is_round: bool = True


@dg.asset(**PARTS.arguments)
def parts(config: Answer) -> Audited:
    yield from PARTS.audited(pl.DataFrame({"part": ["p1"]}), checks=[IS_ROUND.result(config.is_round)])


LABELS = pl.DataFrame({"frame_id": ["f1", "f2"], "label": ["sound", "sound"]})


@pytest.fixture(params=["embedded", pytest.param("lakefs", marks=pytest.mark.lakefs)])
def lake(request, tables):
    """With a delivery, labels, and two candidates: one concluded, one open."""
    lake = tables.lake if request.param == "embedded" else request.getfixturevalue("new_repository")()
    releases = pl.DataFrame({"candidate": ["done"]})
    requests = {table_path("training_request", key): parquet(LABELS) for key in ("done", "open")}
    deliveries = {table_path("raw_frames", "d1"): parquet(LABELS), "raw_frames/d1/f1.png": b"picture"}
    tables = {table_path("label_table"): parquet(LABELS), table_path("releases"): parquet(releases)}
    publish_by_hand(lake, {**requests, **deliveries, **tables})
    for key in ("done", "open"):
        lake.create_branch(candidate_branch("main", key), "main")
    lake.tag("v1.0.0", "main")
    return lake


@pytest.fixture
def my_idea(deployment, tmp_path):
    return experiment(deployment, "my-idea", home=tmp_path / "experiments", port=3001)


def publish(one, lake, instance, **answer):
    tables = Tables(one.deployment, lake)
    instance.add_dynamic_partitions(deliveries.name, ["d2"])
    return dg.materialize(
        [parts],
        partition_key="d2",
        run_config={"ops": {"parts": {"config": answer}}},
        resources={"io_manager": tables},
        instance=instance,
        raise_on_error=False,
    )


def state_of(lake):
    """Every ref, and every byte that main holds."""
    head = lake.resolve("main")
    content = {path: lake.read(head, path) for path in lake.paths(head)}
    return lake.branches(), lake.tags(), content


def test_what_an_experiment_publishes_is_not_on_main(my_idea, lake, deployment, instance):
    begin(my_idea, lake, deployment.spec_file)
    before = state_of(lake)
    assert publish(my_idea, lake, instance).success
    assert Snapshot(lake, lake.resolve("my-idea")).has("parts", "d2")
    branches, tags, content = state_of(lake)
    assert branches.pop("my-idea") != before[0].pop("my-idea")
    assert (branches, tags, content) == before


def test_dropping_leaves_main_as_it_was(my_idea, lake, deployment, instance, tmp_path):
    before = state_of(lake)
    begin(my_idea, lake, deployment.spec_file)
    publish(my_idea, lake, instance)
    assert not publish(my_idea, lake, instance, is_round=False).success
    lake.create_branch("my-idea-work-parts-1", "my-idea")
    lake.tag("my-idea-v1.1.0", "my-idea")
    lake.tag("my-idea-refused-open", "my-idea")
    published = lake.resolve("my-idea")
    told = drop(my_idea, lake)
    assert state_of(lake) == before
    assert not my_idea.folder.exists()
    assert told[0].startswith("Removed 4 branches: my-idea-candidate-open, my-idea-refused-parts-")
    assert told[1] == "Removed 2 tags: my-idea-refused-open and my-idea-v1.1.0."
    assert table_path("parts", "d2") in lake.paths(published), "it stays readable until it is collected"
    assert drop(my_idea, lake) == ["There is no experiment my-idea: nothing was to be removed."]


def test_dropping_leaves_other_experiments_as_they_are(my_idea, lake, deployment):
    other = experiment(deployment, "my-idea-2", home=my_idea.folder.parent)
    begin(other, lake, deployment.spec_file)
    lake.tag("my-idea-2-v1.1.0", "my-idea-2")
    before = state_of(lake)
    begin(my_idea, lake, deployment.spec_file)
    drop(my_idea, lake)
    assert state_of(lake) == before
    assert other.folder.is_dir()


def test_an_experiment_begins_with_main_s_open_candidates(my_idea, lake, deployment):
    begin(my_idea, lake, deployment.spec_file)
    assert refs(lake, "my-idea") == (["my-idea-candidate-open", "my-idea"], [])
    assert lake.resolve("my-idea-candidate-open") == lake.resolve("candidate-open")


def test_an_experiment_goes_on_where_it_was_and_says_how_far_main_has_gone(
    my_idea, lake, deployment, instance
):
    at = lake.resolve("main")
    first = begin(my_idea, lake, deployment.spec_file)
    publish(my_idea, lake, instance)
    publish_by_hand(lake, {table_path("label_table"): parquet(LABELS.head(1))})
    head = lake.resolve("my-idea")
    again = begin(my_idea, lake, deployment.spec_file)
    assert lake.resolve("my-idea") == head
    assert first[0].startswith(f"Experiment my-idea begins. It was cut from main at commit {at[:12]}")
    assert first[0].endswith("main made no commit since.")
    assert again[0].startswith(f"Experiment my-idea goes on. It was cut from main at commit {at[:12]}")
    assert again[0].endswith("main made 1 commit since.")


def test_a_branch_is_compared_with_main_now_or_with_main_then(my_idea, lake, deployment):
    begin(my_idea, lake, deployment.spec_file)
    ours = LABELS.with_columns(label=pl.Series(["sound", "defective"]))
    publish_by_hand(lake, {table_path("label_table"): parquet(ours), "pictures/x.png": b"x"}, "my-idea")
    publish_by_hand(lake, {table_path("label_table"): parquet(LABELS.head(1))})
    then, head = cut(lake, "my-idea").commit, lake.resolve("my-idea")
    (since_cut,) = differences(lake, then, head)
    assert since_cut.rows.rows() == [
        ("f2", "changed", ["label"], '{"label": "sound"}', '{"label": "defective"}')
    ]
    (now,) = differences(lake, lake.resolve("main"), head, "label_table")
    assert now.rows.rows() == [("f2", "added", [], None, '{"label": "defective"}')]
    assert not list(differences(lake, then, head, "label"))
    assert other_files(lake, then, head) == "Files beside the tables: 1 added."


def test_a_new_dagster_is_told_what_the_branch_holds_once(lake, instance):
    head = Snapshot(lake, lake.resolve("main"))
    assert tell(instance, head).reported == 5
    assert instance.get_dynamic_partitions(deliveries.name) == ["d1"]
    assert sorted(instance.get_dynamic_partitions(candidates.name)) == ["done", "open"]
    event = instance.get_latest_materialization_event(asset_key("label_table"))
    metadata = event.asset_materialization.metadata
    assert metadata["lake/path"].value == table_path("label_table")
    assert instance.get_materialized_partitions(asset_key("training_request")) == {"done", "open"}
    assert tell(instance, head).reported == 0


def test_an_experiment_takes_nothing_from_main_s_inbox(deployment, my_idea, tables, tmp_path):
    outside = {"acquisition": tmp_path / "line" / "inbox", "labels": tmp_path / "line" / "exports"}
    for name in ("inbox", "exports"):
        for main_s in (deployment.folder(name), deployment.folder(str(tmp_path / "line" / name))):
            assert main_s.is_relative_to(tmp_path)
        for own in (
            my_idea.deployment.folder(name),
            my_idea.deployment.folder(str(tmp_path / "line" / name)),
        ):
            assert own.is_relative_to(my_idea.folder)
    assert my_idea.deployment.told_in(str(outside["labels"])).is_relative_to(my_idea.folder)
    begin(my_idea, tables.lake, deployment.spec_file)
    assert my_idea.deployment.folder(load_spec(deployment.spec_file).acquisition.inbox).is_dir()
    assert not (tmp_path / "line").exists()


def test_an_experiment_has_its_own_spec_and_tells_nobody(deployment, my_idea, tables):
    begin(my_idea, tables.lake, deployment.spec_file)
    my_idea.deployment.spec_file.write_text(deployment.spec_file.read_text() + "# mine\n")
    begin(my_idea, tables.lake, deployment.spec_file)
    assert my_idea.deployment.spec_file.read_text().endswith("# mine\n")
    assert experiment(replace(deployment, notify="mailto://all"), "x").deployment.notify == ""


def test_a_running_experiment_is_neither_dropped_nor_run_twice(my_idea, tables, deployment):
    begin(my_idea, tables.lake, deployment.spec_file)
    with (
        running(my_idea),
        pytest.raises(LakeError, match=r"Experiment my-idea is running: end its Dagster first, process \d+"),
    ):
        drop(my_idea, tables.lake)
    assert "my-idea" in tables.lake.branches()


def test_an_experiment_is_running_while_its_dagster_lives_on_without_its_parent(my_idea):
    with running(my_idea) as lock:
        dagster = started(my_idea, ["sleep", "60"], lock)
    try:
        with (
            pytest.raises(LakeError, match=f"is running: end its Dagster first, process {dagster.pid},"),
            running(my_idea),
        ):
            pass
    finally:
        dagster.kill()
        dagster.wait()
    with running(my_idea):
        pass


def test_a_branch_that_was_not_made_here_is_neither_taken_nor_dropped_unless_one_insists(
    my_idea, tables, deployment
):
    lake, spec_file = tables.lake, deployment.spec_file
    lake.create_branch("my-idea", "main")
    lake.tag("my-idea-v1.0.0", "main")
    with pytest.raises(LakeError, match=r"my-idea on this lake is no experiment .* insist with --force"):
        begin(my_idea, lake, spec_file)
    with pytest.raises(LakeError, match=r"my-idea on this lake is no experiment .* insist with --force"):
        drop(my_idea, lake)
    assert refs(lake, "my-idea") == (["my-idea"], ["my-idea-v1.0.0"])
    assert not my_idea.folder.exists()
    assert begin(my_idea, lake, spec_file, force=True)[0].startswith("Experiment my-idea goes on.")
    drop(my_idea, lake)
    assert refs(lake, "my-idea") == ([], [])


def test_a_drop_that_was_cut_off_leaves_nothing_to_the_next_experiment_of_that_name(
    my_idea, tables, deployment
):
    begin(my_idea, tables.lake, deployment.spec_file)
    my_idea.deployment.spec_file.write_text("edited")
    in_the_way = my_idea.folder.with_name(".dropped-my-idea")
    in_the_way.touch()
    with pytest.raises(NotADirectoryError):
        drop(my_idea, tables.lake)
    in_the_way.unlink()
    assert refs(tables.lake, "my-idea") == ([], [])
    with pytest.raises(LakeError, match="The drop of experiment my-idea was cut off: drop it again first"):
        begin(my_idea, tables.lake, deployment.spec_file)
    drop(my_idea, tables.lake)
    assert "begins" in begin(my_idea, tables.lake, deployment.spec_file)[0]
    assert my_idea.deployment.spec_file.read_text() == deployment.spec_file.read_text()


def test_an_experiment_stays_on_its_lake(my_idea, tables, deployment, tmp_path):
    begin(my_idea, tables.lake, deployment.spec_file)
    elsewhere = experiment(
        replace(deployment, lake_dir=tmp_path / "other"), "my-idea", home=my_idea.folder.parent
    )
    with pytest.raises(LakeError, match=r"is an experiment on the lake .* this is .*other: drop it there"):
        begin(elsewhere, tables.lake, deployment.spec_file)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "Name the experiment, for example my-idea"),
        ("main", "main is the production's branch"),
        ("Main", "Main is|main is the production's branch"),
        ("a b", "A branch name is 1 to 200"),
        ("-x", "A branch name is 1 to 200"),
        ("0" * 40, "A branch name does not look like a commit id"),
        ("candidate-7", "The word 'candidate' in 'candidate-7' marks branches of another kind"),
        ("my-work", "The word 'work'"),
        ("x" * 61, "at most 60 letters, got 61"),
    ],
)
def test_a_bad_name_gets_a_sentence(name, why, deployment):
    with pytest.raises(ValueError, match=why):
        experiment(deployment, name)


@pytest.mark.parametrize("name", ["my-idea", "workshop", "2026_band", "x" * 60])
def test_a_name_that_marks_no_other_branch_is_good(name):
    assert name_mistake(name) == ""


@pytest.mark.parametrize(
    ("ref", "serves"),
    [
        ("work-parts-1a2b", ("main", "work", "parts-1a2b")),
        ("my-idea-work-parts-1a2b", ("my-idea", "work", "parts-1a2b")),
        ("candidate-new-work-2", ("main", "candidate", "new-work-2")),
        ("my-idea-candidate-new-work-2", ("my-idea", "candidate", "new-work-2")),
        ("refused-c1", ("main", "refused", "c1")),
        ("v1.0.0", ("main", "release", "v1.0.0")),
        ("my-idea-2-v1.0.0", ("my-idea-2", "release", "v1.0.0")),
        ("my-idea", None),
        ("workshop-2", None),
    ],
)
def test_a_ref_says_what_it_serves(ref, serves):
    found = served(ref)
    assert (found and (found.data_branch, found.kind, found.name)) == serves


@pytest.mark.parametrize("question", [["diff", "my-idea"], ["drop", "my-idea"], ["verify"]])
def test_a_question_makes_no_lake(question, deployment, capsys):
    assert main(question, deployment) == 1
    there = deployment.data_dir / "lake"
    assert capsys.readouterr().err == f"There is no lake in {there}: make it with `lake init`.\n"
    assert not (deployment.data_dir / "lake").exists()


def test_the_rows_that_changed_are_printed_and_written(deployment, my_idea, tables, tmp_path, capsys):
    publish_by_hand(tables.lake, {table_path("label_table"): parquet(LABELS)})
    begin(my_idea, tables.lake, deployment.spec_file)
    publish_by_hand(tables.lake, {table_path("label_table"): parquet(LABELS.head(1))}, "my-idea")
    out = tmp_path / "rows.parquet"
    assert main(["diff", "my-idea", "--table", "label_table", "--out", str(out)], deployment) == 0
    assert "label_table" in capsys.readouterr().out
    assert pl.read_parquet(out).select("frame_id", "change").rows() == [("f2", "removed")]
    publish_by_hand(tables.lake, {table_path("label_table"): parquet(LABELS)}, "my-idea")
    assert main(["diff", "my-idea", "--table", "label_table", "--out", str(out)], deployment) == 0
    assert pl.read_parquet(out).is_empty(), "an older answer is not left standing"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (
            ["--table", "lable_table"],
            "There is no table lable_table: without --table, all that differ are listed.",
        ),
        (["--out", "rows.parquet"], "--out writes the rows of one table: name it with --table."),
    ],
)
def test_a_comparison_that_cannot_be_made_gets_a_sentence(options, why, deployment, tables, capsys):
    tables.lake.create_branch("my-idea", "main")
    assert main(["diff", "my-idea", *options], deployment) == 1
    assert capsys.readouterr().err == f"{why}\n"


def test_less_than_no_rows_are_refused(deployment, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["diff", "my-idea", "--table", "label_table", "--rows", "-1"], deployment)
    assert "a number of rows is 0 or more, got -1" in capsys.readouterr().err
