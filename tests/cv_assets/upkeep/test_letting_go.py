"""From a plan that a person looked at to bytes that are gone, and everything else as it was."""

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
import pytest
from by_hand import edit_spec, publish_by_hand
from run_results import checks, failure, metadata

from cv_assets.frames.preparing import fetch_to_show
from cv_assets.labels.schema import LabelTable
from cv_assets.spec.load import load_spec, to_table
from cv_assets.upkeep import assets
from cv_assets.upkeep.holdings import held, needed
from cv_assets.upkeep.moving import move
from cv_assets.upkeep.verification import in_words, verify
from resources.lake import Lake
from resources.let_go import LetGoError, let_go
from resources.tables import Tables, parquet, table_path
from sensors.retention_monthly import retention_monthly

NOW = datetime.now(UTC)
STEPS = [assets.retention_plan, assets.let_go, assets.erasure]


def path_of(content: bytes, delivery: str, folder: str = "raw_frames") -> str:
    return f"{folder}/{delivery}/{hashlib.sha256(content).hexdigest()}.png"


def delivered(lake: Lake, delivery: str, *contents: bytes, days: float, lacks: str = "") -> None:
    """A delivery of frames that was taken in so many days ago, with all its tables; each as a picture of its own."""
    ids = [hashlib.sha256(content).hexdigest() for content in contents]
    raw = {path_of(content, delivery): content for content in contents}
    prepared = {path_of(b"p" + one, delivery, "prepared_frames"): b"p" + one for one in contents}
    rows = pl.DataFrame({"capture_id": ids, "frame_id": ids, "delivery": delivery})
    received = pl.lit(NOW - timedelta(days=days), pl.Datetime("us", "UTC"))
    tables = {
        "raw_frames": rows.with_columns(pl.Series("path", list(raw)), received_at=received),
        "prepared_frames": rows.with_columns(pl.Series("path", list(prepared))),
        **dict.fromkeys(("inspections", "outbox", "drift_metrics"), rows),
    }
    files = {table_path(name, delivery): parquet(table) for name, table in tables.items() if name != lacks}
    publish_by_hand(lake, {**raw, **prepared, **files})


def labelled(lake: Lake, content: bytes) -> None:
    row = {"frame_id": hashlib.sha256(content).hexdigest(), "status": "agreed", "label": "sound"}
    table = pl.DataFrame([row], schema_overrides=dict(LabelTable.create_empty().schema))
    publish_by_hand(lake, {table_path("label_table"): parquet(table)})


@dataclass
class Plant:
    """A lake whose spec keeps frames for 30 days, and the steps of retention."""

    tables: Tables
    materialize: object

    @property
    def lake(self) -> Lake:
        return self.tables.lake

    def step(self, name: str, **config) -> dg.ExecuteInProcessResult:
        run_config = {"ops": {name: {"config": config}}} if config else None
        chosen = [asset for asset in STEPS if asset.key.path[-1] == name]
        others = [
            dg.AssetSpec("project_spec"),
            *(dg.AssetSpec(one.key) for one in STEPS if one not in chosen),
        ]
        selection = [one.key for one in chosen]
        return self.materialize(
            [*others, *chosen], selection=selection, run_config=run_config, raise_on_error=False
        )

    def put_spec_in_force(self, old: str, new: str) -> None:
        edit_spec(self.tables.deployment, old, new)
        rows = to_table(load_spec(self.tables.deployment.spec_file))
        publish_by_hand(self.lake, {table_path("project_spec"): parquet(rows)})

    def plan(self) -> str:
        return metadata(self.step("retention_plan"), "retention_plan")["plan"]

    def let_go(self) -> None:
        assert self.step("let_go", plan=self.plan()).success

    def files(self) -> set[str]:
        """The hashes of what lies on disk."""
        return {file.name for file in (self.lake.root / "repo.git/lfs/objects").rglob("*") if file.is_file()}

    def age(self) -> None:
        """Nothing was written in the last hours."""
        for file in (self.lake.root / "repo.git/lfs/objects").rglob("*"):
            os.utime(file, (1e9, 1e9))


@pytest.fixture
def plant(tables, materialize):
    plant = Plant(tables, materialize)
    plant.put_spec_in_force("name: ", "retention:\n  frames_days: 30\nname: ")
    delivered(plant.lake, "old", b"old", b"seen", days=40)
    delivered(plant.lake, "new", b"new", days=1)
    labelled(plant.lake, b"seen")
    plant.age()
    return plant


def hashes(*contents: bytes) -> set[str]:
    return {hashlib.sha256(content).hexdigest() for content in contents}


def test_the_bytes_of_what_is_past_its_date_go_and_nothing_else(plant):
    before, listed = plant.files(), plant.lake.paths("main")
    result = plant.step("retention_plan")
    assert metadata(result, "retention_plan")["in short"] == (
        "1 prepared frame and 1 raw frame would go (0.000 GB); past its date and needed: 2 objects."
    )
    assert not checks(result)["nothing_is_past_its_date"].passed
    assert plant.files() >= before
    plant.let_go()
    told = metadata(plant.step("erasure"), "erasure")
    assert told["in short"].startswith("2 objects were let go: the bytes of 2 are gone, of 2 just now")
    assert before - plant.files() == hashes(b"old", b"pold")
    gone = {path_of(b"old", "old"), path_of(b"pold", "old", "prepared_frames")}
    assert {*listed} - {*plant.lake.paths("main")} == gone
    assert checks(plant.step("retention_plan"))["nothing_is_past_its_date"].passed


def test_rows_stay_and_say_when_their_picture_was_let_go(plant):
    plant.let_go()
    plant.step("erasure")
    head, path = plant.tables.head(), path_of(b"old", "old")
    assert path in head.table("raw_frames", "old")["path"]
    words = f"{path} was let go on {NOW:%Y-%m-%d} by the rule `frames_days: 30`: its bytes are in the lake no more"
    with pytest.raises(LetGoError, match=words):
        head.fetch(path)
    assert fetch_to_show(head.fetch, path, 100) is None
    row = head.table("let_go").filter(path=path).row(0, named=True)
    assert (row["belongs_to"], row["kind"], row["sha256"]) == ("old", "raw frame", *hashes(b"old"))


def test_verification_tells_what_was_let_go_from_what_is_lost(plant):
    plant.let_go()
    not_erased = verify(plant.lake).problems
    assert {*not_erased["wrong"]} == {"It was let go, and its bytes are still there."}
    plant.step("erasure")
    found = verify(plant.lake)
    assert found.problems.is_empty()
    assert in_words(found).endswith("all is as it was written; 2 objects let go.")
    plant.lake.fetch("main", path_of(b"new", "new")).unlink()
    assert {*verify(plant.lake).problems["path"]} == {path_of(b"new", "new")}


def test_another_plan_than_the_newest_is_refused(plant):
    version = plant.plan()
    assert f"older is not the newest retention plan, which is {version}" in failure(
        plant.step("let_go", plan="older")
    )
    assert "Nothing is not the newest retention plan" in failure(plant.step("let_go"))
    assert not plant.tables.head().has("let_go")


def test_a_plan_of_which_something_is_needed_by_now_is_refused(plant):
    version = plant.plan()
    labelled(plant.lake, b"old")
    said = failure(plant.step("let_go", plan=version))
    assert "2 objects of the plan may not go any more" in said
    assert "people labelled it: it may train. Make a new plan" in said


def test_what_the_spec_wants_automatic_asks_nobody(plant):
    plant.put_spec_in_force("frames_days: 30", "frames_days: 30\n  apply: automatic")
    assert plant.step("let_go").success
    assert plant.tables.head().table("let_go").height == 2


def test_an_erasure_that_was_killed_goes_on_where_it_was(plant):
    plant.let_go()
    file = plant.lake.root / "repo.git/lfs/objects" / "/".join(_place(*hashes(b"old")))
    # It was killed while it had the bytes aside.
    file.rename(plant.lake.root / "repo.git/lfs/tmp" / f"swept-{file.name}")
    plant.lake.sweep(datetime.now(UTC) - timedelta(hours=6))
    assert metadata(plant.step("erasure"), "erasure")["swept"] == 2
    assert not plant.files() & hashes(b"old", b"pold")
    assert metadata(plant.step("erasure"), "erasure")["swept"] == 0


def _place(sha256: str) -> tuple[str, str, str]:
    return sha256[:2], sha256[2:4], sha256


def test_bytes_that_were_delivered_again_since_stay(plant):
    plant.let_go()
    delivered(plant.lake, "again", b"old", days=0)
    plant.age()
    told = metadata(plant.step("erasure"), "erasure")
    assert (told["kept"], told["swept"]) == (2, 0)
    assert plant.lake.read("main", path_of(b"old", "again")) == b"old"
    assert verify(plant.lake).problems.is_empty()


def test_bytes_that_a_publication_under_way_brings_wait(plant):
    plant.let_go()
    work = plant.lake.commit(_cut(plant.lake), {path_of(b"old", "again"): b"old"}, "audited", {})
    told = metadata(plant.step("erasure"), "erasure")
    assert (told["waits"], told["swept"]) == (1, 1)
    plant.lake.merge(work, "main", "published", {})
    plant.age()
    plant.step("erasure")
    assert plant.lake.read("main", path_of(b"old", "again")) == b"old"


def _cut(lake: Lake) -> str:
    lake.create_branch("work-raw_frames-0a1b2c3d", "main")
    return "work-raw_frames-0a1b2c3d"


def test_a_delivery_that_is_under_way_or_that_an_alarm_is_about_stays(plant):
    delivered(plant.lake, "slow", b"slow", days=40, lacks="drift_metrics")
    alarm = {"alarm_id": "drift-r1", "state": "open", "deliveries": ["old"]}
    publish_by_hand(plant.lake, {table_path("alarms"): parquet(pl.DataFrame([alarm]))})
    plant.plan()
    planned = plant.tables.head().table("retention_plan")
    assert {*planned["outcome"]} == {"stays"}
    assert {
        "its delivery is under way",
        "the alarm drift-r1 is about its delivery",
        "people labelled it: it may train",
    } == {*planned["why"]}


def test_an_experiment_lets_nothing_go_and_keeps_what_it_trains_on(plant, deployment):
    plant.lake.create_branch("idea", "main")
    frame_id, *_ = hashes(b"old")
    split = parquet(pl.DataFrame({"frame_id": [frame_id]}))
    plant.lake.commit("idea", {table_path("split_table", "c1"): split}, "by hand", {})
    snapshot = plant.tables.head()
    why = needed(snapshot).filter(name=frame_id)["why"].to_list()
    assert why == ["a model is trained or judged by it of idea"]
    experiment = Tables(type(deployment)(deployment.spec_file, deployment.data_dir, "idea", ""), plant.lake)
    with pytest.raises(dg.Failure, match="idea is an experiment: only main lets anything go"):
        assets._plan_now(experiment.head(), None, experiment.deployment)


def test_checkpoints_of_a_refused_candidate_go_but_not_what_others_use(plant):
    plant.put_spec_in_force("frames_days: 30", "refused_days: 30")
    head, backbone = (f"checkpoints/{one}" for one in sorted(hashes(b"head", b"backbone")))
    if path_of(b"head", "x").split("/")[-1][:-4] not in head:
        head, backbone = backbone, head
    publish_by_hand(plant.lake, {backbone: b"backbone"})
    plant.lake.create_branch("candidate-c1", "main")
    row = parquet(pl.DataFrame({"model": ["cnn"], "weights": [head], "backbone": [backbone]}))
    commit = plant.lake.commit(
        "candidate-c1", {head: b"head", table_path("cnn_checkpoint", "c1"): row}, "trained", {}
    )
    refused = pl.DataFrame(
        {"number": [1], "outcome": ["refused"], "candidate": ["c1"], "candidate_commit": [commit],
         "concluded_at": [NOW - timedelta(days=40)]}
    )  # fmt: skip
    publish_by_hand(plant.lake, {table_path("releases"): parquet(refused)})
    plant.age()
    assert held(plant.tables.head()).filter(kind="checkpoint")["path"].to_list() == [head]
    plant.let_go()
    plant.step("erasure")
    assert plant.files() & hashes(b"head", b"backbone") == hashes(b"backbone")
    assert verify(plant.lake).problems.is_empty()
    assert held(plant.tables.head()).filter(kind="checkpoint").is_empty()


def trained(lake: Lake, candidate: str) -> str:
    """The commit of a candidate, which trained a head of its own on the backbone that all start from."""
    head, backbone = weights(candidate), weights("backbones")
    files = {head: candidate.encode(), backbone: b"backbones"}
    row = pl.DataFrame({"model": ["cnn"], "weights": [head], "backbone": [backbone]})
    lake.create_branch(f"candidate-{candidate}", "main")
    files[table_path("cnn_checkpoint", candidate)] = parquet(row)
    return lake.commit(f"candidate-{candidate}", files, "trained", {})


def weights(folder: str) -> str:
    return f"cnn_checkpoint/{folder}/{next(iter(hashes(folder.encode())))}.safetensors"


def refused(lake: Lake, candidate: str, commit: str) -> None:
    row = {
        "number": 1, "outcome": "refused", "candidate": candidate, "candidate_commit": commit,
        "concluded_at": NOW - timedelta(days=40),
    }  # fmt: skip
    publish_by_hand(lake, {table_path("releases"): parquet(pl.DataFrame([row]))})


@pytest.fixture
def checkpoints(plant):
    """A plant that keeps the checkpoints of refused candidates for 30 days, and frames for ever."""
    plant.put_spec_in_force("frames_days: 30", "refused_days: 30")
    return plant


def test_a_backbone_that_the_next_candidate_trained_with_again_stays(checkpoints):
    plant = checkpoints
    refused(plant.lake, "c1", trained(plant.lake, "c1"))
    plant.age()
    plant.let_go()
    plant.step("erasure")
    assert not plant.files() & hashes(b"c1", b"backbones")
    commit = trained(plant.lake, "c2")
    plant.age()  # it waits a night for its approver
    assert metadata(plant.step("erasure"), "erasure")["kept"] == 1
    assert verify(plant.lake).problems.filter(path=weights("backbones")).is_empty()
    assert weights("backbones") not in let_go(plant.lake)
    plant.lake.merge(commit, "main", "released", {})
    assert plant.lake.read("main", weights("backbones")) == b"backbones"


def test_a_refused_candidate_stays_while_an_experiment_has_a_copy_of_it(checkpoints):
    plant = checkpoints
    commit = trained(plant.lake, "c1")
    plant.lake.create_branch("idea-candidate-c1", commit)
    plant.lake.create_branch("idea", "main")
    refused(plant.lake, "c1", commit)
    plant.age()
    assert held(plant.tables.head()).filter(kind="checkpoint").is_empty()
    plant.let_go()
    plant.step("erasure")
    assert plant.lake.read("idea-candidate-c1", weights("c1")) == b"c1"


def test_what_an_experiment_prepared_again_stays_there(plant):
    plant.lake.create_branch("bystander", "main")
    plant.let_go()
    plant.step("erasure")
    path = path_of(b"pold", "old", "prepared_frames")
    plant.lake.create_branch("idea", "main")
    plant.lake.commit("idea", {path: b"pold"}, "prepared again", {})
    plant.age()
    plant.step("erasure")
    assert plant.lake.read("idea", path) == b"pold"
    assert {*let_go(plant.lake)} == {path_of(b"old", "old")}


def test_a_picture_that_two_captures_share_stays_when_either_is_needed(plant):
    ids = [hashlib.sha256(content).hexdigest() for content in (b"seen", b"twin")]
    path = path_of(b"both", "twins", "prepared_frames")
    rows = pl.DataFrame({"capture_id": ids, "frame_id": ids, "delivery": "twins", "path": path})
    delivered(plant.lake, "twins", b"seen", b"twin", days=40)
    publish_by_hand(plant.lake, {path: b"both", table_path("prepared_frames", "twins"): parquet(rows)})
    plant.let_go()
    planned = plant.tables.head().table("retention_plan").filter(path=path)
    assert planned.select("outcome", "why").rows() == [("stays", "people labelled it: it may train")]
    assert path in plant.lake.paths("main")


def test_a_plan_that_was_applied_already_is_applied_again_by_doing_nothing(plant):
    version = plant.plan()
    assert plant.step("let_go", plan=version).success
    before = plant.tables.head().table("let_go")
    assert plant.step("let_go", plan=version).success
    assert plant.tables.head().table("let_go").equals(before)


def test_bytes_that_became_needed_while_they_were_let_go_stay_and_say_why(plant):
    plant.let_go()
    labelled(plant.lake, b"old")
    rows = plant.step("erasure")
    assert (metadata(rows, "erasure")["kept"], metadata(rows, "erasure")["swept"]) == (2, 0)
    assert {*plant.tables.head().table("erasure")["why"]} == {
        "Needed since: people labelled it: it may train."
    }
    assert plant.files() >= hashes(b"old", b"pold")


@pytest.mark.lakefs
def test_on_a_server_no_new_state_lists_it_and_earlier_ones_do_until_garbage_collection(
    new_repository, deployment, instance
):
    tables = Tables(deployment, new_repository())
    resources = {"io_manager": tables, "tables": tables, "deployment": deployment}

    def materialize(given, **arguments):
        return dg.materialize(given, **{"resources": resources, "instance": instance, **arguments})

    plant = Plant(tables, materialize)
    plant.put_spec_in_force("name: ", "retention:\n  frames_days: 30\nname: ")
    delivered(plant.lake, "old", b"old", days=40)
    before, path = plant.lake.resolve("main"), path_of(b"old", "old")
    cached = plant.lake.fetch(before, path)
    plant.let_go()
    told = metadata(plant.step("erasure"), "erasure")
    assert "2 are kept (Let go: no new state lists it. Earlier commits do" in told["in short"]
    assert not cached.exists()
    assert path not in plant.lake.paths("main")
    assert plant.lake.read(before, path) == b"old"
    with pytest.raises(LetGoError):
        tables.head().fetch(path)
    assert verify(plant.lake).problems.is_empty()


@pytest.mark.lakefs
def test_a_moved_lake_leaves_behind_what_was_let_go(plant, new_repository):
    before = plant.lake.resolve("main")
    plant.let_go()
    plant.step("erasure")
    target = new_repository()
    move(plant.lake, target)
    assert target.paths("main") == plant.lake.paths("main")
    assert {*plant.lake.paths(before)} - {*target.paths(before)} == {
        path_of(b"old", "old"),
        path_of(b"pold", "old", "prepared_frames"),
    }
    assert verify(target).problems.is_empty()


def test_only_what_has_a_date_is_looked_for_monthly(spec):
    def names(**settings) -> list[str]:
        retention = spec.retention.model_copy(update=settings)
        return [one.name for one in retention_monthly(retention)]

    assert names() == []
    assert names(frames_days=30) == ["plan_monthly"]
    assert names(refused_days=30, apply="automatic") == ["plan_monthly", "let_go_monthly"]
