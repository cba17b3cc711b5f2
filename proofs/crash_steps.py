"""The steps that the crash matrix kills: what lies in the lake before, and the step under the real IO manager."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import dagster as dg
import dataframely as dy
import polars as pl

from cv_assets.evaluation.schema import ReleaseDecision
from cv_assets.release.assets import releases
from cv_assets.release.schema import Releases
from cv_assets.requests.base import new_request
from cv_assets.spec.load import digest, load_spec, to_table
from resources.contracts import Audited, Check, TableAsset
from resources.deployments import ROOT, Deployment
from resources.lake import Content, Lake
from resources.partitions import candidates, deliveries
from resources.tables import REQUESTS, Tables, candidate_branch, parquet, table_path

SPEC: Final = ROOT / "specs" / "solar_cells.yaml"
CANDIDATE: Final = "c1"
DELIVERY: Final = "d1"
NOON: Final = datetime(2026, 3, 2, 12, tzinfo=UTC)
FILES: Final = 5
FITS: Final = Check("fits", "Does every part fit?")


class Parts(dy.Schema):
    """Some rows."""

    part = dy.String(primary_key=True)
    size = dy.Int64(min=0)


TOTAL: Final = TableAsset("total", Parts, step="labels")
PICTURES: Final = TableAsset("pictures", Parts, step="frames")
PARTS: Final = TableAsset("parts", Parts, step="frames", partitions=deliveries)
MISFITS: Final = TableAsset("misfits", Parts, step="frames", checks=(FITS,))
MODEL: Final = TableAsset("model", Parts, step="training", partitions=candidates, on_candidate=True)


@dg.asset(**TOTAL.arguments)
def total() -> Audited:
    """A plain table."""
    yield from TOTAL.audited(_rows("total"))


@dg.asset(**PICTURES.arguments)
def pictures() -> Audited:
    """A table and the files that it points to."""
    files = {f"pictures/p{number}.png": b"%d" % number * 1000 for number in range(FILES)}
    yield from PICTURES.audited(_rows(*files), files=files)


@dg.asset(**PARTS.arguments)
def parts(context: dg.AssetExecutionContext, tables: dg.ResourceParam[Tables]) -> Audited:
    """A partition that grows by a row, while another run grows it too."""
    before = tables.snapshot(context).table("parts", DELIVERY)
    _rival_publishes(tables)
    yield from PARTS.audited(pl.concat([before, _rows("mine")]).unique("part", maintain_order=True))


@dg.asset(**MISFITS.arguments)
def misfits() -> Audited:
    """A table that its audit refuses."""
    yield from MISFITS.audited(_rows("bent"), checks=[FITS.result(False)])


@dg.asset(**MODEL.arguments)
def model() -> Audited:
    """The first step of a candidate: it cuts the candidate's branch at the request."""
    yield from MODEL.audited(_rows("model"))


def _rows(*parts: str) -> pl.DataFrame:
    return pl.DataFrame({"part": parts, "size": [1] * len(parts)})


def _rival_publishes(tables: Tables) -> None:
    """Once, whoever asks: the step that is executed again finds it there."""
    if "rival" not in (before := tables.head().table("parts", DELIVERY))["part"]:
        put(
            tables.lake,
            {table_path("parts", DELIVERY): parquet(pl.concat([before, _rows("rival")]))},
            "the rival",
        )


@dataclass(frozen=True)
class Step:
    """One step, and `seed`, which writes what it finds. One that `is_refused` ends well when nothing is published.

    `publications` are visible from the start of the step to its end, those of others included.
    """

    asset: dg.AssetsDefinition
    seed: Callable[[Lake], None] = lambda _: None
    partition: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    is_refused: bool = False
    publications: int = 1

    def execute(self, lake: Lake, folder: Path) -> str:
        """Materialize it; empty when it ended as it should, else what it failed with."""
        deployment = Deployment(SPEC, folder, "main", "http://127.0.0.1:3000")
        tables, name = Tables(deployment, lake), self.asset.key.path[-1]
        with dg.DagsterInstance.ephemeral() as instance:
            for partitions, key in ((deliveries, DELIVERY), (candidates, CANDIDATE)):
                instance.add_dynamic_partitions(str(partitions.name), [key])
            result = dg.materialize(
                [dg.AssetSpec("project_spec"), self.asset],
                selection=[name],
                partition_key=self.partition,
                run_config={"ops": {name: {"config": dict(self.config)}}} if self.config else None,
                resources={"io_manager": tables, "tables": tables, "deployment": deployment},
                instance=instance,
                raise_on_error=False,
            )
        return self._verdict(result)

    def _verdict(self, result: dg.ExecuteInProcessResult) -> str:
        if result.success:
            return "It was published." if self.is_refused else ""
        failed = next(one for one in result.all_events if one.event_type_value == "STEP_FAILURE")
        said = failed.step_failure_data.error_display_string
        return "" if self.is_refused and REFUSED in said else said


def put(lake: Lake, files: Mapping[str, Content], message: str = "before", branch: str = "main") -> str:
    """Publish `files` on `branch` as another run would; returns the commit."""
    work = f"work-other-{uuid.uuid4().hex[:8]}"
    lake.create_branch(work, lake.resolve(branch))
    try:
        return lake.merge(lake.commit(work, files, message, {}), branch, message, {})
    finally:
        lake.delete_branch(work)


def _older_version(lake: Lake) -> None:
    put(lake, {table_path("parts", DELIVERY): parquet(_rows("old"))})


def _spec(lake: Lake) -> None:
    put(lake, {table_path("project_spec"): parquet(to_table(load_spec(SPEC)))})


def _requested(lake: Lake) -> None:
    _spec(lake)
    request = new_request(
        candidate=CANDIDATE,
        reason="person",
        evidence="wanted",
        requested_by="ada",
        requested_at=NOON,
        base_commit="b" * 40,
        spec_digest=digest(load_spec(SPEC)),
        benchmark_frames=pl.DataFrame(schema={"version": pl.Int64}),
        releases=pl.DataFrame(),
    )
    put(lake, {table_path(REQUESTS, CANDIDATE): parquet(request)})


def _judged(lake: Lake, *, passed: bool) -> None:
    _requested(lake)
    branch = candidate_branch("main", CANDIDATE)
    lake.create_branch(branch, lake.resolve("main"))
    criterion = {
        "number": 1, "kind": "acceptance", "candidate": CANDIDATE, "criterion": "golden escape rate at most 0.3",
        "metric": "escape_rate", "set": "golden", "slice": "all", "required": 0.3, "comparison": "at_most",
        "judge": "estimate", "measured": 0.1, "low": 0.0, "high": 0.2, "samples": 40, "passed": passed,
        "why": "0.1 of 40", "model": "cnn", "lower": 0.2, "upper": 0.8, "released_version": None,
    }  # fmt: skip
    decision = pl.DataFrame([criterion], schema=ReleaseDecision.create_empty().schema)
    lake.commit(branch, {table_path("release_decision", CANDIDATE): parquet(decision)}, "decided", {})


def _released_twice(lake: Lake) -> None:
    _spec(lake)
    row = {
        "outcome": "released", "trigger": "person", "why": "met", "approver": "quality.lead", "concluded_at": NOON,
        "model": "cnn", "candidate_commit": "c" * 40, "lower": 0.2, "upper": 0.8, "pass_class": "sound",
        "spec_digest": "s",
    }  # fmt: skip
    rows = [
        {**row, "number": 1, "version": "v1.0.0", "candidate": "c0"},
        {**row, "number": 2, "version": "v1.1.0", "candidate": "c1"},
    ]
    history = pl.DataFrame(rows, schema=Releases.create_empty().schema)
    put(lake, {table_path("releases"): parquet(history)})


REFUSED: Final = "is not published: it failed fits"

_BY: Final = {"approver": "quality.lead"}

STEPS: Final = {
    "table": Step(total),
    "table with files": Step(pictures),
    "partition changed meanwhile": Step(parts, _older_version, DELIVERY, publications=2),
    "refused table": Step(misfits, is_refused=True, publications=0),
    "first step of a candidate": Step(model, _requested, CANDIDATE),
    "release": Step(
        releases, lambda lake: _judged(lake, passed=True), config={"candidate": CANDIDATE, **_BY}
    ),
    "refused candidate": Step(
        releases, lambda lake: _judged(lake, passed=False), config={"candidate": CANDIDATE, **_BY}
    ),
    # Repeated after it is in force, it says so.
    "rollback": Step(releases, _released_twice, config={"back_to": "v1.0.0", **_BY}),
}
"""By what a person calls them."""
