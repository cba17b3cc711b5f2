"""What the lake holds, told to a Dagster that has not seen it made: its partitions and its tables.

Without it a new Dagster calls every asset "never materialized" and offers no partition to run.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dagster as dg

from resources.deployments import Deployment
from resources.lake import Commit, Lake
from resources.partitions import asset_key, candidates, deliveries, exports
from resources.tables import Snapshot, candidate_branch, table_of, table_path

FIRST_OF: Final = {deliveries: "raw_frames", exports: "annotations", candidates: "training_request"}
"""The asset whose publication makes a partition."""

PARTITIONS_TOLD: Final = 200
"""Of each asset, so many of the newest partitions are reported: Dagster takes 10 to 50 ms for each."""

_Table = tuple[str, str]


@dataclass(frozen=True)
class Told:
    """How many tables were reported now, and how many older partitions Dagster is not told of."""

    reported: int
    left_out: int


def tell_dagster(home: Path, deployment: Deployment, lake: Lake) -> Told:
    """Tell the Dagster whose storage is in `home` of the deployment's branch and of its candidates.

    The storage is made here first: processes that make it at the same time damage it.
    """
    head = Snapshot(lake, lake.resolve(deployment.branch))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs_count()
        instance.all_instigator_state()
        told = tell(instance, head)
        for commit in lake.branches(candidate_branch(deployment.branch, "")).values():
            added = [one.path for one in lake.diff(head.commit, commit, "tables/") if one.kind == "added"]
            more = tell(instance, Snapshot(lake, commit), added) if added else Told(0, 0)
            told = Told(told.reported + more.reported, told.left_out + more.left_out)
    return told


def tell(instance: dg.DagsterInstance, snapshot: Snapshot, paths: Iterable[str] = ()) -> Told:
    """Register the partitions of the lake and report its tables; what `instance` knows is not told again.

    With `paths`, only the tables there.
    """
    for definition, asset in FIRST_OF.items():
        if keys := snapshot.partitions(asset):
            instance.add_dynamic_partitions(str(definition.name), keys)
    publications = _publications(snapshot)
    age = {table: number for number, table in enumerate(publications)}
    tables = [table_of(path) for path in paths or snapshot.lake.paths(snapshot.commit, "tables/")]
    chosen, left_out = _chosen(tables, age)
    known = {asset: _known(instance, asset) for asset in {asset for asset, _ in chosen}}
    fresh = [(asset, partition) for asset, partition in chosen if partition not in known[asset]]
    # Oldest first, as they were published: else Dagster takes a table for older than what it was made from.
    for table in reversed(fresh):
        instance.report_runless_asset_event(_event(snapshot, table, publications.get(table)))
    return Told(len(fresh), left_out)


def _chosen(tables: Iterable[_Table], age: Mapping[_Table, int]) -> tuple[list[_Table], int]:
    """The newest PARTITIONS_TOLD of each asset, newest first, and how many others there are."""
    chosen: list[_Table] = []
    newest_first = sorted(tables, key=lambda table: (age.get(table, len(age)), table))
    of_asset: Counter[str] = Counter()
    for table in newest_first:
        of_asset[table[0]] += 1
        if of_asset[table[0]] <= PARTITIONS_TOLD:
            chosen.append(table)
    return chosen, len(newest_first) - len(chosen)


def _publications(snapshot: Snapshot) -> Mapping[_Table, Commit]:
    """The newest commit of each table, newest first; the log is read once for all of them."""
    found: dict[_Table, Commit] = {}
    for commit in snapshot.lake.log(snapshot.commit):
        found.setdefault((commit.metadata.get("asset", ""), commit.metadata.get("partition", "")), commit)
    return found


def _known(instance: dg.DagsterInstance, asset: str) -> set[str]:
    """The partitions of which Dagster knows a materialization; an empty name for an asset without partitions."""
    key = asset_key(asset)
    if instance.get_latest_materialization_event(key) is None:
        return set()
    return instance.get_materialized_partitions(key) or {""}


def _event(snapshot: Snapshot, table: _Table, publication: Commit | None) -> dg.AssetMaterialization:
    """The materialization as its step would have told it, as far as the commit says it."""
    asset, partition = table
    path, lake = table_path(asset, partition or None), snapshot.lake
    commit, said = (publication.id, publication.metadata) if publication else (snapshot.commit, {})
    metadata: dict[str, Any] = {
        "dagster/uri": lake.url(commit, path),
        "lake/commit": commit,
        "lake/path": path,
        "lake/link": dg.MetadataValue.url(lake.url(commit, path)),
        "lake/commit_link": dg.MetadataValue.url(lake.url(commit)),
    }
    if rows := said.get("rows"):
        metadata["dagster/row_count"] = int(rows)
    if run := said.get("run_id"):
        metadata["lake/run_id"] = run
    tags = {f"dagster/{name}": said[name] for name in ("data_version", "code_version") if said.get(name)}
    return dg.AssetMaterialization(
        asset_key(asset),
        partition=partition or None,
        description="It is in the lake: published before this Dagster was there.",
        metadata=metadata,
        tags=tags,
    )
