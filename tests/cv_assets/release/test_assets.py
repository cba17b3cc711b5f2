"""A candidate from its request to its end, on a real embedded lake."""

import copy
from dataclasses import replace
from datetime import UTC, datetime

import dagster as dg
import polars as pl
import pytest
from by_hand import publish_by_hand
from run_results import failure

from cv_assets.evaluation.schema import ReleaseDecision
from cv_assets.labels.schema import LabelTable
from cv_assets.release.__main__ import Lake, main
from cv_assets.release.approval import Approval, Decided, place_of, sign
from cv_assets.release.assets import releases
from cv_assets.release.door import BoardError
from cv_assets.requests.assets import training_request
from cv_assets.spec.assets import project_spec
from jobs.release import release
from resources.partitions import OURS, candidates, in_project
from resources.tables import Tables, candidate_branch, parquet, table_path
from sensors.release_passed_candidates import release_passed_candidates

LABEL = {
    "frame_id": "a" * 64, "objects": [], "label": "sound", "status": "agreed", "resolution": "unanimous",
    "disputed": False, "votes": 3, "agreement": 1.0, "annotations": ["x"], "annotators": ["ada"],
    "labelled_at": datetime(2026, 3, 2, tzinfo=UTC),
}  # fmt: skip
CRITERION = {
    "number": 1, "kind": "acceptance", "criterion": "golden escape rate at most 0.3", "metric": "escape_rate",
    "set": "golden", "slice": "all", "required": 0.3, "comparison": "at_most", "judge": "estimate", "measured": 0.1,
    "low": 0.0, "high": 0.2, "samples": 40, "why": "0.1 of 40", "model": "cnn", "lower": 0.2, "upper": 0.8,
    "released_version": None,
}  # fmt: skip


KEY = "a key that nobody guesses, for tests"


def table(row, schema):
    return parquet(pl.DataFrame([row], schema=schema.create_empty().schema))


class Plant:
    """The assets of requests and release over one lake, with what lies between them written by hand."""

    def __init__(self, tables, deployment, instance):
        self.tables, self.lake, self.deployment, self.instance = tables, tables.lake, deployment, instance
        self.resources = {"io_manager": tables, "tables": tables, "deployment": deployment}
        self.run(project_spec)
        publish_by_hand(self.lake, {table_path("label_table"): table(LABEL, LabelTable)})

    def on(self, branch):
        """The same plant, on another data branch of its lake."""
        other, deployment = copy.copy(self), replace(self.deployment, branch=branch)
        other.deployment, other.tables = deployment, Tables(deployment, self.lake)
        other.resources = {"io_manager": other.tables, "tables": other.tables, "deployment": deployment}
        return other

    def run(self, asset, partition=None, **config):
        name = asset.key.path[-1]
        return dg.materialize(
            [project_spec, training_request, releases],
            selection=[name],
            partition_key=partition,
            run_config={"ops": {name: {"config": config}}} if config else None,
            resources=self.resources,
            instance=self.instance,
            raise_on_error=False,
        )

    def request(self, candidate, **changes):
        self.instance.add_dynamic_partitions(candidates.name, [candidate])
        config = {"reason": "person", "evidence": "wanted", "requested_by": "ada", **changes}
        return self.run(training_request, candidate, **config)

    def judge(self, candidate, *, passed):
        """Write the candidate's release decision onto its branch, as the evaluation does."""
        data_branch = self.deployment.branch
        branch = candidate_branch(data_branch, candidate)
        self.lake.create_branch(branch, self.lake.resolve(data_branch))
        row = {**CRITERION, "candidate": candidate, "passed": passed}
        path = table_path("release_decision", candidate)
        return self.lake.commit(branch, {path: table(row, ReleaseDecision)}, "decided", {})

    def end(self, **config):
        return self.run(releases, **{"approver": "quality.lead", **config})

    def approved(self, *, seen, by="quality.lead", key=KEY, **decided):
        """The configuration that the door gives to a run, for somebody who logged in."""
        config = {"candidate": "", "back_to": "", "approver": by, "approve": True, "why": "", **decided}
        place = place_of("solar_cells", self.deployment.branch)
        said = Approval(place, Decided(**config), "authenticated", seen, datetime.now(UTC))
        return {**config, "approval": sign(said, key)}

    def history(self):
        return self.tables.head().table("releases").select("outcome", "version", "candidate").rows()

    def tick(self):
        context = dg.build_sensor_context(instance=self.instance, resources=self.resources)
        return release_passed_candidates(context)


@pytest.fixture
def plant(tables, deployment, instance):
    return Plant(tables, replace(deployment, approval_key=KEY), instance)


def test_an_approved_candidate_enters_main_with_its_row_and_its_tag(plant):
    assert plant.request("c1").success
    plant.judge("c1", passed=True)
    assert not plant.tables.head().has("release_decision", "c1")
    assert plant.end(candidate="c1").success
    assert plant.history() == [("released", "v1.0.0", "c1")]
    assert plant.tables.head().table("releases")["pass_class"].to_list() == ["sound"]
    assert plant.tables.head().has("release_decision", "c1")
    assert plant.lake.tags()["v1.0.0"] == plant.lake.resolve("main")


def test_a_refused_candidate_never_reaches_main_and_stays_readable_under_its_tag(plant):
    plant.request("c1")
    decided = plant.judge("c1", passed=False)
    assert plant.end(candidate="c1", approver="policy").success
    assert plant.history() == [("refused", None, "c1")]
    assert not plant.tables.head().has("release_decision", "c1")
    assert plant.lake.tags() == {"refused-c1": decided}
    assert table_path("release_decision", "c1") in plant.lake.paths(plant.lake.resolve("refused-c1"))


def test_a_candidate_whose_base_moved_is_refused_and_the_release_in_force_stays(plant):
    plant.request("c1")
    plant.request("c2")
    plant.judge("c1", passed=True)
    plant.judge("c2", passed=True)
    plant.end(candidate="c1")
    assert plant.end(candidate="c2").success
    assert plant.history() == [("released", "v1.0.0", "c1"), ("refused", None, "c2")]
    why = plant.tables.head().table("releases")["why"][1]
    assert why.startswith("evaluated against no release, v1.0.0 is in force")


def test_concluding_a_candidate_again_changes_nothing(plant):
    plant.request("c1")
    plant.judge("c1", passed=True)
    plant.end(candidate="c1")
    head = plant.lake.resolve("main")
    assert plant.end(candidate="c1").success
    assert plant.lake.resolve("main") == head


def test_concluding_a_refused_candidate_again_after_another_was_released_says_what_became_of_it(plant):
    for candidate, passed in [("c1", False), ("c2", True)]:
        plant.request(candidate)
        plant.judge(candidate, passed=passed)
    assert plant.end(candidate="c1").success
    assert plant.end(candidate="c2").success
    again = plant.end(candidate="c1")
    assert again.success
    said = again.asset_materializations_for_node("releases")[0].metadata["outcome"].value
    assert said == "c1: refused before; the same again changes nothing"
    assert plant.history() == [("refused", None, "c1"), ("released", "v1.0.0", "c2")]


def test_what_a_candidate_made_after_its_decision_is_not_released(plant):
    plant.request("c1")
    decided = plant.judge("c1", passed=True)
    path = table_path("cnn_checkpoint", "c1")
    plant.lake.commit(candidate_branch("main", "c1"), {path: b"trained again"}, "trained again", {})
    assert plant.end(candidate="c1").success
    assert plant.tables.head().table("releases")["candidate_commit"].to_list() == [decided]
    assert not plant.tables.head().has("cnn_checkpoint", "c1")


def test_a_release_of_an_experiment_takes_no_version_tag_from_main(plant):
    plant.lake.create_branch("experiment", plant.lake.resolve("main"))
    experiment = plant.on("experiment")
    for one in (experiment, plant):
        assert one.request("c1").success
        one.judge("c1", passed=True)
        assert one.end(candidate="c1").success
    assert sorted(plant.lake.tags()) == ["experiment-v1.0.0", "v1.0.0"]


def test_someone_who_may_not_approve_is_told_who_may(plant):
    plant.request("c1")
    plant.judge("c1", passed=True)
    assert "'mallory' may not decide on releases; the spec names quality.lead" in failure(
        plant.end(candidate="c1", approver="mallory")
    )
    assert not plant.tables.head().has("releases")


def test_a_candidate_that_was_never_judged_is_not_released(plant):
    assert "There is no candidate 'ghost'" in failure(plant.end(candidate="ghost"))


def test_a_candidate_whose_training_never_ended_well_can_be_declined(plant):
    """It would stand in the way of every retraining that starts by itself."""
    plant.request("c1")
    assert "c1 has no release decision yet" in failure(plant.end(candidate="c1"))
    assert plant.end(candidate="c1", approve=False, why="no memory for it").success
    assert plant.history() == [("refused", None, "c1")]
    assert plant.tick().skip_message == "No candidate is open."


def test_a_rollback_adds_a_row_and_keeps_everything_else(plant):
    for number, candidate in enumerate(["c1", "c2"]):
        assert plant.request(candidate).success, number
        plant.judge(candidate, passed=True)
        assert plant.end(candidate=candidate).success
    for time in ("first", "again, as after a crash"):
        assert plant.end(back_to="v1.0.0", why="v1.1.0 overkills").success, time
        assert plant.history() == [
            ("released", "v1.0.0", "c1"),
            ("released", "v1.1.0", "c2"),
            ("rolled_back", "v1.0.0", "c1"),
        ], time


def test_a_candidates_name_is_used_once(plant):
    assert plant.request("c1").success
    assert plant.request("c1").success, "the same request again is no change"
    assert "candidate_is_new" in failure(plant.request("c1", reason="schedule"))


def test_nothing_is_requested_without_labels(tables, deployment, instance):
    empty = Plant.__new__(Plant)
    empty.tables, empty.lake, empty.deployment, empty.instance = tables, tables.lake, deployment, instance
    empty.resources = {"io_manager": tables, "tables": tables, "deployment": deployment}
    empty.run(project_spec)
    assert "labels_are_there" in failure(empty.request("c1"))


def test_the_sensor_says_whose_approval_a_passing_candidate_waits_for(plant):
    assert plant.tick().skip_message == "No candidate is open."
    plant.request("c1")
    assert plant.tick().skip_message == "c1 has no release decision yet"
    plant.judge("c1", passed=True)
    assert "waits for the approval of quality.lead" in plant.tick().skip_message


def test_the_sensor_concludes_a_failed_candidate_once(plant):
    plant.request("c1")
    plant.judge("c1", passed=False)
    (asked,) = plant.tick().run_requests
    assert asked.run_config["ops"]["releases"]["config"]["candidate"] == "c1"
    assert asked.run_key == plant.tick().run_requests[0].run_key
    plant.end(candidate="c1", approver="policy")
    assert plant.tick().skip_message == "No candidate is open."


def test_the_sensor_names_the_run_that_could_not_conclude_a_candidate(plant):
    plant.request("c1")
    plant.judge("c1", passed=False)
    (asked,) = plant.tick().run_requests
    job = dg.Definitions(
        assets=in_project([project_spec, releases]), jobs=[release], resources=plant.resources
    ).resolve_job_def("release")
    run = plant.instance.create_run_for_job(
        job, run_config=asked.run_config, tags={**OURS, "dagster/run_key": asked.run_key}
    )
    assert plant.tick().skip_message == f"c1 is being concluded by run {run.run_id}"
    plant.instance.report_run_failed(run)
    assert f"Run {run.run_id} did not conclude c1 (failure): read why there" in plant.tick().skip_message


def test_an_approval_that_the_door_signed_releases_and_is_used_once(plant):
    plant.request("c1")
    decided = plant.judge("c1", passed=True)
    approved = plant.approved(candidate="c1", seen=decided)
    assert "was not signed with CV_APPROVAL_KEY" in failure(
        plant.end(**plant.approved(candidate="c1", seen=decided, key="x" * 40))
    )
    assert "the approval says `approver` 'quality.lead', the run says 'mallory'" in failure(
        plant.end(**{**approved, "approver": "mallory"})
    )
    assert "c1 was judged after quality.lead looked at it: look at it anew" in failure(
        plant.end(**plant.approved(candidate="c1", seen="another commit"))
    )
    assert not plant.tables.head().has("releases")
    assert plant.end(**approved).success
    row = plant.tables.head().table("releases").row(0, named=True)
    assert (row["approver"], row["approver_known"]) == ("quality.lead", "authenticated")
    head = plant.lake.resolve("main")
    assert plant.end(**approved).success
    assert plant.lake.resolve("main") == head


def test_a_signed_rollback_cannot_be_played_again_after_a_later_release(plant):
    for candidate in ("c1", "c2"):
        plant.request(candidate)
        plant.judge(candidate, passed=True)
        assert plant.end(candidate=candidate).success
    back = plant.approved(back_to="v1.0.0", why="v1.1.0 overkills", seen="2")
    for _ in ("first", "again, as after a crash"):
        assert plant.end(**back).success
    plant.request("c3")
    plant.judge("c3", passed=True)
    assert plant.end(candidate="c3").success
    assert (
        "the history of releases had 2 rows when quality.lead decided to go back to v1.0.0, and has 4 now"
        in (failure(plant.end(**back)))
    )
    assert [outcome for outcome, *_ in plant.history()] == ["released", "released", "rolled_back", "released"]


def test_where_the_spec_asks_for_a_login_only_the_door_s_word_releases(plant):
    file = plant.deployment.spec_file
    file.write_text(file.read_text().replace("  approvers:", "  identity: authenticated\n  approvers:"))
    plant.run(project_spec)
    plant.request("c1")
    decided = plant.judge("c1", passed=True)
    assert "'quality.lead' is only what somebody typed" in failure(plant.end(candidate="c1"))
    assert plant.end(**plant.approved(candidate="c1", seen=decided)).success


def test_the_door_s_board_reads_the_lake_as_it_is(plant):
    plant.request("c1")
    decided = plant.judge("c1", passed=True)
    plant.request("c2")
    shown = Lake(plant.deployment).board()
    assert [(one.candidate, one.seen) for one in shown.waiting] == [("c1", decided), ("c2", "")]
    assert shown.place == "solar_cells on main"


def test_the_door_does_not_make_a_lake(deployment):
    with pytest.raises(BoardError, match="The lake cannot be read now: There is no lake in"):
        Lake(deployment).board()
    assert not deployment.embedded_lake.exists()


@pytest.mark.parametrize("host", ["192.0.2.7", "::1", "127.0.0.2"])
def test_a_door_without_a_login_is_for_this_machine_alone(host, deployment, capsys):
    """By other addresses of this machine nobody would be let in either: pages elsewhere could use them."""
    assert main(["--host", host], deployment) == 1
    assert "leave --host out, or put a login in front and set CV_PROXY_SECRET" in capsys.readouterr().err
