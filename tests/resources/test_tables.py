"""Write, audit, publish: what is visible on the data branch, and what never is."""

import itertools
import json
import re

import dagster as dg
import dataframely as dy
import polars as pl
import pytest
from by_hand import publish_by_hand
from polars.testing import assert_frame_equal
from run_results import failure, metadata

from resources import lakefs_connection
from resources.contracts import Audited, Check, TableAsset, digest
from resources.deployments import Deployment
from resources.lake import Lake
from resources.lakefs_lake import LakeFSLake
from resources.partitions import candidates, deliveries
from resources.tables import Snapshot, Tables, parquet, table_path


class Parts(dy.Schema):
    part = dy.String(primary_key=True)
    size = dy.Int64(min=0)
    measured_at = dy.Int64(metadata={"volatile": True}, description="Changes with every run.")


IS_ROUND = Check("is_round", "Is it round?")
IS_PRETTY = Check("is_pretty", "Is it pretty?", blocking=False)
PARTS = TableAsset("parts", Parts, step="frames", partitions=deliveries, checks=(IS_ROUND, IS_PRETTY))
TOTAL = TableAsset("total", Parts, step="labels")
REQUEST = TableAsset("training_request", Parts, step="requests", partitions=candidates)
MODEL = TableAsset("model", Parts, step="training", partitions=candidates, on_candidate=True)
RELEASED = TableAsset("released", Parts, step="release")

clock = itertools.count()


def rows(*parts: tuple[str, int]) -> pl.DataFrame:
    return pl.DataFrame(
        [(part, size, next(clock)) for part, size in parts],
        schema=["part", "size", "measured_at"],
        orient="row",
    )


class Answers(dg.Config):
    size: int = 1
    is_round: bool = True
    is_pretty: bool = True
    forgets_a_check: bool = False


@dg.asset(**PARTS.arguments)
def parts(context: dg.AssetExecutionContext, config: Answers) -> Audited:
    answers = [IS_ROUND.result(config.is_round), IS_PRETTY.result(config.is_pretty)]
    yield from PARTS.audited(
        rows((context.partition_key, config.size)),
        files={f"parts/{context.partition_key}.txt": b"bytes"},
        checks=answers[:1] if config.forgets_a_check else answers,
    )


@dg.asset(**REQUEST.arguments)
def training_request(context: dg.AssetExecutionContext) -> Audited:
    yield from REQUEST.audited(rows((context.partition_key, 1)))


@dg.asset(**MODEL.arguments, ins={"parts": dg.AssetIn(partition_mapping=dg.AllPartitionMapping())})
def model(training_request: pl.DataFrame, parts: pl.DataFrame) -> Audited:
    yield from MODEL.audited(training_request.with_columns(size=parts["size"].sum()))


class Candidate(dg.Config):
    key: str


@dg.asset(**RELEASED.arguments)
def released(
    context: dg.AssetExecutionContext, config: Candidate, tables: dg.ResourceParam[Tables]
) -> Audited:
    history = tables.snapshot(context).table("released", or_empty=Parts)
    if history.height:
        yield from RELEASED.audited(history, tags={})
    else:
        candidate = tables.candidate(config.key).commit
        yield from RELEASED.audited(rows((config.key, 1)), merges=candidate, tags={"v1.0.0": ""})


ASSETS = [parts, training_request, model, released]


class World:
    """A lake, an instance and a way to materialize one asset."""

    def __init__(self, deployment: Deployment, instance: dg.DagsterInstance, lake: Lake) -> None:
        self.lake, self.instance = lake, instance
        self.deployment = deployment
        self.use(lake)
        instance.add_dynamic_partitions(deliveries.name, ["d1", "d2"])
        instance.add_dynamic_partitions(candidates.name, ["c1"])

    def use(self, lake):
        self.tables = Tables(self.deployment, lake)
        self.resources = {"io_manager": self.tables, "tables": self.tables, "deployment": self.deployment}

    def run(self, asset, partition=None, **config):
        name = asset.key.path[-1]
        return dg.materialize(
            [asset, *(one for one in ASSETS if one.key != asset.key)],
            selection=[name],
            partition_key=partition,
            run_config={"ops": {name: {"config": config}}} if config else None,
            resources=self.resources,
            instance=self.instance,
            raise_on_error=False,
        )

    @property
    def main(self) -> Snapshot:
        return self.tables.head()


@pytest.fixture
def world(request, deployment, instance):
    lake = request.getfixturevalue(getattr(request, "param", "git_lake"))
    return World(deployment, instance, lake)


ON_EITHER_LAKE = pytest.mark.parametrize(
    "world", ["git_lake", pytest.param("lakefs_lake", marks=pytest.mark.lakefs)], indirect=True
)
"""For what depends on the lake; all else is tried on the embedded one."""


def data_version(result, name):
    (materialization,) = result.asset_materializations_for_node(name)
    return materialization.tags["dagster/data_version"]


@ON_EITHER_LAKE
def test_rows_and_their_bytes_appear_in_one_commit(world):
    before = world.lake.resolve("main")
    assert world.run(parts, "d1").success
    assert world.main.table("parts", "d1")["part"].to_list() == ["d1"]
    assert world.main.read("parts/d1.txt") == b"bytes"
    newest = next(world.lake.log("main"))
    assert newest.parents[0] == before
    assert [b for b in world.lake.branches() if b != "main"] == []


@ON_EITHER_LAKE
def test_commit_and_materialization_point_to_each_other(world):
    result = world.run(parts, "d1")
    shown, commit = metadata(result, "parts"), next(world.lake.log("main"))
    assert shown["lake/commit"] == commit.id
    assert shown["lake/branch"] == "main"
    assert shown["dagster/row_count"] == 1
    assert commit.metadata["run_id"] == result.run_id
    assert commit.metadata["asset"] == "parts"
    assert commit.metadata["partition"] == "d1"
    assert commit.metadata["rows"] == "1"
    assert commit.metadata["input_commit"] == shown["lake/input_commit"]
    assert commit.metadata["code_version"]
    assert commit.metadata["::lakefs::Dagster::url[url:ui]"].endswith(f"/runs/{result.run_id}")


def test_the_log_of_the_lake_reads_as_a_story(world):
    world.run(parts, "d1")
    publication = next(world.lake.log("main"))
    assert publication.message == "parts[d1]: 1 row, published"
    assert next(world.lake.log(publication.parents[1])).message == "parts[d1]: 1 row, audited"
    world.run(parts, "d1", is_round=False)
    (refused,) = [b for b in world.lake.branches() if b.startswith("refused-parts-")]
    assert next(world.lake.log(refused)).message == "parts[d1]: refused by is_round"


# As the UI of lakeFS finds, in the metadata of a commit, what it shows as a button.
BUTTON = re.compile(r"::lakefs::(.*)::url\[ur[il]:ui\]$")


@ON_EITHER_LAKE
def test_every_link_of_a_publication_opens_what_it_names(world):
    result = world.run(parts, "d1")
    shown, commit = metadata(result, "parts"), next(world.lake.log("main"))
    assert shown["lake/link"] == shown["dagster/uri"] == world.lake.url(commit.id, shown["lake/path"])
    assert shown["lake/commit_link"] == world.lake.url(commit.id)
    assert shown["lake/files"] == f"- [parts/d1.txt]({world.lake.url(commit.id, 'parts/d1.txt')})"
    buttons = {found[1]: url for key, url in commit.metadata.items() if (found := BUTTON.fullmatch(key))}
    assert buttons == {"Dagster": f"{world.deployment.dagster_url}/runs/{result.run_id}"}


@ON_EITHER_LAKE
def test_what_fails_a_blocking_check_is_never_visible_and_waits_on_its_branch(world):
    before = world.lake.resolve("main")
    result = world.run(parts, "d1", is_round=False)
    assert not result.success
    (branch,) = [b for b in world.lake.branches() if b.startswith("refused-parts-")]
    assert "is_round" in failure(result)
    assert branch in failure(result)
    assert world.lake.resolve("main") == before
    assert result.asset_materializations_for_node("parts") == []
    refused = Snapshot(world.lake, world.lake.resolve(branch))
    assert refused.table("parts", "d1")["size"].to_list() == [1]


def test_a_row_outside_the_contract_is_refused(world):
    assert "follows_its_contract" in failure(world.run(parts, "d1", size=-1))
    assert world.main.partitions("parts") == []


def test_a_refusal_is_not_tried_again(world):
    result = world.run(parts, "d1", is_round=False)
    assert [e for e in result.all_events if e.event_type_value == "STEP_UP_FOR_RETRY"] == []


def test_a_check_that_informs_refuses_nothing(world):
    result = world.run(parts, "d1", is_pretty=False)
    assert result.success
    assert [c.check_name for c in result.get_asset_check_evaluations() if not c.passed] == ["is_pretty"]
    assert world.main.partitions("parts") == ["d1"]


def test_a_forgotten_check_fails_before_anything_is_published(world):
    assert "declares the checks" in failure(world.run(parts, "d1", forgets_a_check=True))
    assert world.main.partitions("parts") == []


@ON_EITHER_LAKE
def test_the_same_content_again_publishes_nothing(world):
    first = world.run(parts, "d1")
    head = world.lake.resolve("main")
    again = world.run(parts, "d1")
    assert again.success
    assert world.lake.resolve("main") == head
    assert data_version(first, "parts") == data_version(again, "parts")


def test_the_same_rows_with_a_new_file_are_published(world):
    names = iter(["parts/old.txt", "parts/old.txt", "parts/new.txt"])

    @dg.asset(**TOTAL.arguments)
    def total() -> Audited:
        yield from TOTAL.audited(rows(("total", 1)), files={next(names): b"page"})

    heads = [world.run(total).success and world.lake.resolve("main") for _ in range(3)]
    assert heads[0] == heads[1] != heads[2]
    assert world.main.read("parts/new.txt") == b"page"


def test_other_content_publishes_a_new_version(world):
    world.run(parts, "d1")
    head = world.lake.resolve("main")
    world.run(parts, "d1", size=2)
    assert world.lake.resolve("main") != head
    assert world.main.table("parts", "d1")["size"].to_list() == [2]


def test_the_data_version_leaves_volatile_columns_out_and_nothing_else():
    now, later = rows(("a", 1)), rows(("a", 1))
    assert digest(now, ["measured_at"]) == digest(later, ["measured_at"])
    assert digest(now) != digest(later)
    assert digest(now, ["measured_at"]) != digest(rows(("a", 2)), ["measured_at"])


def another_run_publishes_total(lake, size):
    publish_by_hand(lake, {"tables/total.parquet": parquet(rows(("total", size)))})


@ON_EITHER_LAKE
def test_a_table_changed_meanwhile_is_computed_again_from_the_new_head(world):
    interruptions, seen = iter([41]), []

    @dg.asset(**TOTAL.arguments)
    def total(context: dg.AssetExecutionContext, tables: dg.ResourceParam[Tables]) -> Audited:
        history = tables.snapshot(context).table("total", or_empty=Parts)
        seen.append(history["size"].to_list())
        for size in interruptions:
            another_run_publishes_total(tables.lake, size)
        yield from TOTAL.audited(rows(("total", history["size"].sum() + 1)))

    assert world.run(total).success
    assert seen == [[], [41]]
    assert world.main.table("total")["size"].to_list() == [42]


def test_a_result_equal_to_the_old_one_is_computed_again_when_the_table_moved_on(world):
    another_run_publishes_total(world.lake, 7)
    interruptions = iter([9])

    @dg.asset(**TOTAL.arguments)
    def total(context: dg.AssetExecutionContext, tables: dg.ResourceParam[Tables]) -> Audited:
        known = tables.snapshot(context).table("total")["size"][0]
        for size in interruptions:
            another_run_publishes_total(tables.lake, size)
        yield from TOTAL.audited(rows(("total", known)))

    assert world.run(total).success
    assert world.main.table("total")["size"].to_list() == [9]


def test_a_table_that_keeps_changing_ends_in_a_failed_step_and_loses_nothing(world):
    sizes = itertools.count(100)

    @dg.asset(**TOTAL.arguments)
    def total(context: dg.AssetExecutionContext, tables: dg.ResourceParam[Tables]) -> Audited:
        tables.snapshot(context)
        another_run_publishes_total(tables.lake, next(sizes))
        yield from TOTAL.audited(rows(("total", 1)))

    result = world.run(total)
    assert failure(result).splitlines()[0] == (
        "dagster._core.definitions.events.Failure: tables/total.parquet changed on main each of the 6 times that this "
        "step computed it: others publish it all the time. Nothing is published of this run: re-execute it from "
        "failure when they are done."
    )
    assert world.main.table("total")["size"].to_list() == [next(sizes) - 1]


def test_inputs_and_reads_of_the_body_come_from_one_commit_though_the_branch_moves(world):
    world.run(parts, "d1")
    moves = [parts]

    @dg.asset(**TOTAL.arguments)
    def total(
        context: dg.AssetExecutionContext, parts: pl.DataFrame, tables: dg.ResourceParam[Tables]
    ) -> Audited:
        world.run(moves[0], "d2")
        pinned = tables.snapshot(context)
        assert pinned.partitions("parts") == parts["part"].to_list() == ["d1"]
        assert tables.head().partitions("parts") == ["d1", "d2"]
        yield from TOTAL.audited(rows(("total", parts.height)))

    result = world.run(total)
    assert result.success
    assert metadata(result, "total")["lake/reads"] == ["tables/parts/d1.parquet"]
    assert json.loads(next(world.lake.log("main")).metadata["reads"]) == ["tables/parts/d1.parquet"]


@pytest.mark.parametrize("picture", ["pictures/{0}.png", "pictures/d{0}/{0}.png"], ids=["folder", "folders"])
def test_many_reads_from_one_folder_or_many_are_recorded_by_their_number(world, picture):
    world.lake.create_branch("bytes", world.lake.resolve("main"))
    pictures = {picture.format(number): b"x" for number in range(30)}
    world.lake.merge(world.lake.commit("bytes", pictures, "m", {}), "main", "m", {})

    @dg.asset(**TOTAL.arguments)
    def total(context: dg.AssetExecutionContext, tables: dg.ResourceParam[Tables]) -> Audited:
        pinned = tables.snapshot(context)
        yield from TOTAL.audited(rows(("total", sum(len(pinned.read(path)) for path in pictures))))

    assert metadata(world.run(total), "total")["lake/reads"] == ["pictures/ (30 files)"]


def test_some_columns_are_read_of_partitions_that_were_published_under_different_contracts(world):
    earlier = pl.DataFrame({"part": ["a"], "size": [1]})
    publish_by_hand(
        world.lake,
        {table_path("parts", "d1"): parquet(earlier), table_path("parts", "d2"): parquet(rows(("b", 2)))},
    )
    read = world.main.columns
    assert read("parts", ("size", "part"), schema=Parts).rows() == [(1, "a"), (2, "b")]
    assert read("parts", ("part",), schema=Parts, partitions=["d2"]).rows() == [("b",)]
    assert read("parts", ("part",), schema=Parts, partitions=[]).schema == {"part": pl.String}


def test_a_column_that_an_earlier_contract_lacked_is_null_where_all_partitions_are_read(world):
    earlier = rows(("a", 1)).select("part")
    publish_by_hand(
        world.lake,
        {table_path("parts", "d1"): parquet(earlier), table_path("parts", "d2"): parquet(rows(("b", 2)))},
    )
    assert world.main.tables("parts").select("part", "size").rows() == [("a", None), ("b", 2)]


@pytest.mark.parametrize(
    "first", [{"part": ["a"]}, {"size": [1], "part": ["a"]}, {"part": ["a"], "note": [2.5]}]
)
def test_partitions_read_at_once_are_those_read_one_by_one(world, first):
    tables = {"d1": pl.DataFrame(first), "d2": rows(("b", 2), ("c", 3)), "d3": rows(("d", 4)).clear()}
    publish_by_hand(world.lake, {table_path("parts", key): parquet(table) for key, table in tables.items()})
    found = world.main.tables("parts")
    assert_frame_equal(found, pl.concat(tables.values(), how="diagonal"))


def test_partitions_whose_columns_changed_their_type_are_not_read_together(world):
    earlier, now = pl.DataFrame({"part": ["a"], "size": ["1"]}), rows(("b", 2))
    publish_by_hand(
        world.lake, {table_path("parts", "d1"): parquet(earlier), table_path("parts", "d2"): parquet(now)}
    )
    with pytest.raises(pl.exceptions.SchemaError, match="size"):
        world.main.tables("parts")


def test_every_partition_that_was_read_is_among_the_reads(world):
    keys = ["d1", "d2", "d3"]
    publish_by_hand(world.lake, {table_path("parts", key): parquet(rows((key, 1))) for key in keys})
    some, everything = world.main, world.main
    some.columns("parts", ("part",), schema=Parts, partitions=keys[:2])
    everything.tables("parts")
    assert some.reads == {table_path("parts", key) for key in keys[:2]}
    assert everything.reads == {table_path("parts", key) for key in keys}


def test_a_partition_that_was_never_published_is_not_found_among_many(world):
    publish_by_hand(world.lake, {table_path("parts", "d1"): parquet(rows(("a", 1)))})
    with pytest.raises(FileNotFoundError, match=r"parts/d9\.parquet"):
        world.main.columns("parts", ("part",), schema=Parts, partitions=["d1", "d9"])


def test_a_missing_table_is_named_with_what_to_do(world):
    with pytest.raises(FileNotFoundError, match=r"parts\[d9\] is not published .* materialize it first"):
        world.main.table("parts", "d9")


@ON_EITHER_LAKE
def test_everything_of_a_candidate_stays_on_its_own_branch(world):
    world.run(parts, "d1")
    world.run(training_request, "c1")
    requested = world.lake.resolve("main")
    world.run(parts, "d2")
    result = world.run(model, "c1")
    assert metadata(result, "model")["lake/branch"] == "candidate-c1"
    assert not world.main.has("model", "c1")
    candidate = world.tables.candidate("c1")
    assert candidate.partitions("parts") == ["d1"]
    assert candidate.table("model", "c1")["size"].to_list() == [1]
    history = [commit.id for commit in world.lake.log("candidate-c1")]
    assert requested in history
    assert world.lake.resolve("main") not in history


def test_a_candidate_without_a_request_is_refused_with_words(world):
    world.run(parts, "d1")
    assert "Candidate c1 has no training request on main" in failure(world.run(model, "c1"))


@ON_EITHER_LAKE
def test_a_release_brings_the_candidate_and_its_row_in_one_transaction_with_its_tag(world):
    world.run(parts, "d1")
    world.run(training_request, "c1")
    world.run(model, "c1")
    before = world.lake.resolve("main")
    assert world.run(released, key="c1").success
    newest = next(world.lake.log("main"))
    assert newest.parents[0] == before
    assert world.main.has("model", "c1")
    assert world.main.has("released")
    assert world.lake.tags() == {"v1.0.0": newest.id}


@ON_EITHER_LAKE
def test_of_two_runs_that_bring_one_candidate_at_once_one_brings_it_and_both_end_well(world):
    world.run(parts, "d1")
    world.run(training_request, "c1")
    world.run(model, "c1")
    world.run(parts, "d2")
    others = iter([released])

    @dg.asset(**TOTAL.arguments)
    def total(context: dg.AssetExecutionContext, tables: dg.ResourceParam[Tables]) -> Audited:
        candidate = tables.candidate("c1").commit
        is_there = tables.snapshot(context).has("model", "c1")
        for other in others:
            world.run(other, key="c1")
        yield from TOTAL.audited(rows(("total", int(is_there))), merges=candidate)

    assert world.run(total).success
    assert world.main.table("total")["size"].to_list() == [1]
    assert [commit.metadata.get("asset") for commit in world.lake.log("main")][:2] == ["total", "released"]


def test_a_lakefs_that_is_down_is_named_in_the_error_of_the_step_with_what_to_do(
    world, monkeypatch, tmp_path
):
    monkeypatch.setattr(lakefs_connection, "_RETRIES", False)
    world.use(LakeFSLake("http://127.0.0.1:1", "key", "secret", "cv-assets", tmp_path / "cache"))
    (failure,) = world.run(parts, "d1").get_step_failure_events()
    assert failure.step_failure_data.error.cause.message == (
        "resources.lake.LakeUnreachableError: lakeFS at http://127.0.0.1:1 does not answer: start it or correct "
        "LAKEFS_ENDPOINT; nothing is lost, re-execute the run from failure\n"
    )


class DyingLake:
    """A lake whose process dies just before the given verb."""

    def __init__(self, lake, dies_before):
        self.lake, self.dies_before = lake, dies_before

    def __getattr__(self, verb):
        if verb == self.dies_before:
            raise KeyboardInterrupt
        return getattr(self.lake, verb)


@ON_EITHER_LAKE
@pytest.mark.parametrize("verb", ["commit", "merge"])
def test_an_interrupted_publication_leaves_nothing_visible_and_can_be_repeated(world, verb):
    before = world.lake.resolve("main")
    world.use(DyingLake(world.lake, verb))
    assert not world.run(parts, "d1").success
    assert world.lake.resolve("main") == before
    world.use(world.lake)
    assert world.run(parts, "d1").success
    assert world.main.partitions("parts") == ["d1"]


@ON_EITHER_LAKE
def test_a_tag_lost_to_a_crash_is_set_by_the_next_publication(world):
    world.run(parts, "d1")
    world.run(training_request, "c1")
    world.run(model, "c1")
    world.use(DyingLake(world.lake, "tag"))
    assert not world.run(released, key="c1").success
    published = world.lake.resolve("main")
    assert world.lake.tags() == {}
    world.use(world.lake)
    assert world.run(released, key="c1").success
    assert world.lake.tags() == {"v1.0.0": published}


@pytest.mark.lakefs
def test_other_programs_read_a_table_at_a_commit_or_tag_through_lakefs_s_s3_gateway(
    world, lakefs_lake, lakefs_server
):
    world.use(lakefs_lake)
    for key in ("d1", "d2"):
        assert world.run(parts, key).success
    commit = lakefs_lake.resolve("main")
    lakefs_lake.tag("v1.0.0", commit)
    options = {
        "aws_access_key_id": lakefs_server.access_key_id,
        "aws_secret_access_key": lakefs_server.secret_access_key,
        "aws_endpoint_url": lakefs_server.endpoint,
    }
    for ref in (commit, "v1.0.0"):
        place = f"s3://{lakefs_lake.repository}/{ref}/tables/parts/*.parquet"
        assert pl.scan_parquet(place, storage_options=options).collect().equals(world.main.tables("parts"))
