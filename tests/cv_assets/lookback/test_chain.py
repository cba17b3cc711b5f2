"""Why a part got its verdict, on a small real chain: every link is where the explanation says, and as of then."""

from collections import defaultdict

import dagster as dg
import make_explained
import polars as pl
import pytest
import torch
from make_candidates import cells
from make_explained import CANDIDATE, agreed, plant_in, votes

from cv_assets.lookback.assets import html_page, verdict_explanation
from cv_assets.lookback.chain import UnknownPartError, near_matches
from cv_assets.lookback.schema import VerdictExplanation
from resources.tables import parquet, table_path

CHAIN = [
    "capture", "preparation", "verdict", "release", "gate", "checkpoint", "request", "labels", "benchmark", "review",
]  # fmt: skip


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    """One release, and a delivery before and after it; tests add to it and read at a commit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with dg.DagsterInstance.ephemeral() as instance:
        plant = plant_in(tmp_path_factory.mktemp("plant"), instance)
        plant.deliver("early", {"before": True})
        plant.inspect("early")
        plant.release()
        plant.deliver("later", {"bad": True, "good": False, "twice": True}, minute=60)
        plant.inspect("later")
        yield plant
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def done(plant):
    """The commit at which everything above is published."""
    return plant.head


def materializations(instance):
    """Run and code version of every materialization, by the commit and the asset that it says it published."""
    found = defaultdict(set)
    for key in instance.all_asset_keys():
        for record in instance.fetch_materializations(key, limit=1000).records:
            event = record.asset_materialization
            said = record.run_id, event.tags["dagster/code_version"]
            found[event.metadata["lake/commit"].value, key.path[-1]].add(said)
    return found


def asset_of(path):
    """Tables lie at tables/<asset>…, bytes at <asset>/…"""
    first, second, *_ = path.split("/")
    return second.removesuffix(".parquet") if first == "tables" else first


def facts(explanation, link):
    return {fact.about: fact.says for fact in explanation.facts if fact.link == link}


def test_every_link_is_where_it_says_published_by_the_run_and_code_that_dagster_knows(plant, done):
    explanation = plant.explain("bad", done)
    rows = explanation.rows
    assert VerdictExplanation.is_valid(rows)
    assert rows["link"].unique(maintain_order=True).to_list() == CHAIN
    assert explanation.not_there(plant.archive(done)).is_empty()
    materialized = materializations(plant.instance)
    for row in rows.iter_rows(named=True):
        assert plant.tables.lake.read(row["commit"], row["path"]), row
        assert (row["run_id"], row["code_version"]) in materialized[row["commit"], asset_of(row["path"])], row
    assert [one.says for one in explanation.findings if not one.holds] == []
    assert len(explanation.findings) == 15


def test_the_chain_names_model_data_people_and_approver(plant, done):
    explanation = plant.explain("bad", done)
    verdict = plant.tables.head().table("inspections", "later").filter(part="bad").row(0, named=True)
    told = facts(explanation, "verdict")
    assert told["verdict"] == f"{verdict['verdict']}: {verdict['why']} ({verdict['reason']})"
    scores = dict(zip(verdict["classes"], verdict["scores"], strict=True))
    assert told["scores"] == f"sound {scores['sound']:.4f}, defective {scores['defective']:.4f}"
    assert verdict["weights_sha256"] in told["decided by"]
    release = facts(explanation, "release")
    assert release["v1.0.0"] == "released (row 1): it meets them all"
    assert release["approver"].startswith("quality.lead (as typed, not authenticated), ")
    assert release["model"].startswith(f"cnn of candidate {CANDIDATE}, as of commit ")
    assert release["tag"].endswith(plant.tables.lake.tags()["v1.0.0"])
    request = facts(explanation, "request")
    assert request["why"] == "the first release was wanted: 64 cells"
    assert request["asked by"].startswith("ml.engineer, ")
    assert request["in force then"] == "no release; benchmark version 1"
    labels = facts(explanation, "labels")
    assert labels["train"] == "48 frames of 6 groups: sound 32, defective 16"
    assert labels["votes"] == "144 votes on 48 training frames, resolved as unanimous 48"
    assert labels["ben"] == "voted on 48 of 48 training frames; statements by guideline 1 48; 2026-03-02"
    assert labels["export e1"] == "144 statements on training frames, as they arrived"
    assert (
        facts(explanation, "benchmark")["eva"]
        == "verified 16 golden frames (sound 10, defective 6), 2026-03-02"
    )
    assert facts(explanation, "checkpoint")["trained on"].startswith("48 frames of 6 groups")
    assert facts(explanation, "gate") == {
        "escape_rate on golden frames: at most 0.3": "met: 0.125 (interval 0.05 to 0.25) on 16 frames",
        "evaluation report": "1 figure of cnn",
    }
    assert (explanation.verdict, explanation.release, explanation.approver) == (
        verdict["verdict"],
        "v1.0.0",
        "quality.lead",
    )


def test_training_data_is_the_commit_that_the_request_looked_at(plant, done):
    request = plant.tables.head().table("training_request", CANDIDATE).row(0, named=True)
    explanation = plant.explain("bad", done)
    assert facts(explanation, "request")["training data"] == f"the lake as of commit {request['base_commit']}"


def test_a_part_that_was_decided_before_any_release_says_so_and_names_no_model(plant, done):
    explanation = plant.explain("before", done)
    assert explanation.title == "Why part before was sent to people"
    links = set(explanation.rows["link"])
    assert links == {"capture", "preparation", "verdict", "review", "release"}
    assert list(facts(explanation, "release")) == ["in force today"]
    assert "it did NOT decide" in facts(explanation, "release")["in force today"]
    assert explanation.in_short[1].startswith(
        "It was decided before any release could: no model looked at it"
    )
    assert (explanation.release, explanation.approver) == (None, None)
    assert explanation.not_there(plant.archive(done)).is_empty()


def test_an_unknown_part_is_told_what_is_near_and_how_many_are_known(plant, done):
    with pytest.raises(UnknownPartError) as told:
        plant.explain("bda", done)
    assert str(told.value) == "No part 'bda' was received; 68 parts are known. Is one of these meant: bad?"


def test_nothing_is_known_of_an_empty_lake(tables, deployment):
    archive = make_explained.LakeArchive(tables.head(), deployment)
    with pytest.raises(UnknownPartError, match=r"^No part was received yet\.$"):
        make_explained.explain(archive, "p")


def test_parts_that_hold_what_was_asked_come_first():
    assert near_matches("48213", ["part-48213", "48218", "p"]) == ["part-48213", "48218"]
    assert near_matches("", ["a"]) == []


def test_what_a_file_name_says_does_nothing_on_the_page(plant, done):
    evil = "<script>alert(1)</script> [x](javascript:alert(1)) | `y` ![z](https://e.example/z.png).png"
    plant.deliver("evil", {"evil": True}, minute=30, file_name=evil)
    archive = plant.archive()
    page = html_page(make_explained.explain(archive, "evil"), archive).decode()
    assert "<script" not in page
    assert 'href="javascript:' not in page
    assert "e.example/z.png)" in page, "it is shown as it is"
    assert 'src="https' not in page


def test_the_asset_publishes_the_chain_and_its_page(plant, done):
    plant.step(verdict_explanation, part="bad")
    head = plant.tables.head()
    assert head.table("verdict_explanation").equals(plant.explain("bad", done).rows)
    (page,) = head.lake.paths(head.commit, "verdict_explanation/")
    assert b"Why part bad " in head.read(page)
    (record,) = plant.instance.fetch_materializations(dg.AssetKey("verdict_explanation"), limit=9).records
    said = {name: one.value for name, one in record.asset_materialization.metadata.items()}
    assert (said["release"], said["approver"]) == ("v1.0.0", "quality.lead")
    assert said["links"] == head.table("verdict_explanation").height
    assert said["page"].startswith("# Why part bad ")
    assert len(said["page"]) + len(said["frames"]) < 150_000
    assert any(one.endswith("tables/split_table/explained.parquet") for one in said["lake/reads"])


def test_a_received_part_without_a_verdict_says_where_it_stands(plant, done):
    plant.deliver("waiting", {"fresh": False}, minute=90)
    explanation = plant.explain("fresh")
    assert explanation.title == "Part fresh has no verdict yet"
    said = facts(explanation, "verdict")["verdict"]
    assert said.startswith(
        "no verdict yet: delivery waiting was received and prepared (accepted), and not inspected"
    )
    assert explanation.verdict is None


def test_all_captures_of_a_part_are_explained_the_newest_first(plant, done):
    plant.deliver("again", {"twice": False}, minute=120)
    plant.inspect("again")
    explanation = plant.explain("twice")
    titles = [section.title for section in explanation.sections if section.title.startswith("Capture")]
    assert titles == ["Capture (capture 1 of 2)", "Capture (capture 2 of 2)"]
    assert "taken (capture 2 of 2)" in facts(explanation, "capture")
    taken = [fact.says for fact in explanation.facts if fact.about.startswith("taken")]
    assert taken == sorted(taken, reverse=True)
    assert explanation.in_short[-1].startswith("2 captures of this part, newest first: ")
    versions = [section.title for section in explanation.sections if section.title.startswith("Release")]
    assert versions == ["Release v1.0.0"], "the release that decided both is explained once"


def test_what_people_say_later_changes_only_what_was_said_since(plant, done):
    before = plant.explain("good", done)
    frame = plant.tables.head().table("raw_frames", "later").filter(part="good")["frame_id"]
    everything = pl.concat(
        [
            cells().select("frame_id", label=pl.lit("defective")),
            frame.to_frame().with_columns(label=pl.lit("defective")),
        ]
    )
    said = votes(everything, "e2", guideline="2")
    plant.stand_in("annotations", said, "e2", {"annotations/e2/0.json": b"another export"})
    plant.stand_in("label_table", agreed(everything, said))
    plant.step(make_explained.review_queue)
    after = plant.explain("good")
    told = facts(after, "review")
    assert told["ada"] == "defective, 2026-03-02 10:00:00 UTC, by guideline 2, in export e2"
    assert told["verdict and people"].startswith("people say defective: they ")
    for link in CHAIN[:-1]:
        assert facts(after, link) == facts(before, link), link
    kept = after.rows.filter(pl.col("link") != "review", pl.col("about") != "in force today")
    assert kept.equals(before.rows.filter(pl.col("link") != "review", pl.col("about") != "in force today"))


def test_a_later_preparation_of_the_delivery_does_not_change_the_explanation(plant, done):
    before = plant.explain("bad", done)
    prepared = plant.tables.head().table("prepared_frames", "later")
    plant.stand_in("prepared_frames", prepared.with_columns(preparation=pl.lit("another pass")), "later")
    after = plant.explain("bad")
    for link in ("capture", "preparation", "verdict"):
        assert facts(after, link) == facts(before, link), link


def test_a_release_is_told_as_of_its_own_row_and_what_is_in_force_today_beside_it(plant, done):
    before, history = plant.explain("bad", done), plant.archive(done).read(done, "releases")
    newer = {"number": 2, "version": "v1.1.0", "candidate": "second", "approver": "other.lead"}
    second = history.rows.with_columns(**{name: pl.lit(one) for name, one in newer.items()})
    rows = pl.concat([history.rows, second.cast(dict(history.rows.schema))])
    said = {
        "asset": "releases",
        "partition": "",
        "run_id": "later",
        "code_version": "x",
        "input_commit": done,
    }
    lake = plant.tables.lake
    lake.create_branch("today", done)
    today = lake.commit("today", {table_path("releases"): parquet(rows)}, "releases", said)
    after = plant.explain("bad", today)
    told = facts(after, "release")
    assert told.pop("in force today").startswith(
        "v1.1.0 (row 2), cnn of second, put in force by other.lead, "
    )
    assert told == {name: one for name, one in facts(before, "release").items() if name != "in force today"}
    row = after.rows.filter(link="release", about="approver").row(0, named=True)
    assert (row["commit"], row["run_id"]) == (history.source.commit, history.source.run_id)
    assert all(one.holds for one in after.findings)


def test_a_release_that_was_changed_afterwards_is_noticed(plant, done):
    history = plant.archive(done).read(done, "releases")
    rows = history.rows.with_columns(approver=pl.lit("nobody"))
    said = {
        "asset": "releases",
        "partition": "",
        "run_id": "later",
        "code_version": "x",
        "input_commit": done,
    }
    lake = plant.tables.lake
    lake.create_branch("forged", done)
    forged = plant.explain(
        "bad", lake.commit("forged", {table_path("releases"): parquet(rows)}, "forged", said)
    )
    assert facts(forged, "release")["approver"].startswith("quality.lead (as typed, not authenticated), ")
    assert [one.says for one in forged.findings if not one.holds] == [
        "row 1 of releases says today what it said when it was added"
    ]
