"""Makes what the retraining sensors look at: alarms, labels, requests and releases in a lake, and runs of `retrain`."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
from by_hand import publish_by_hand

from cv_assets.alarms.schema import Alarms
from cv_assets.labels.schema import LabelTable
from cv_assets.release.schema import Releases
from cv_assets.requests.assets import training_request
from cv_assets.requests.schema import TrainingRequest
from cv_assets.spec.assets import project_spec
from cv_assets.spec.load import digest, load_spec, to_table
from resources.deployments import Deployment
from resources.partitions import OURS, candidates
from resources.tables import Tables, parquet, table_path

DRIFT = {
    "alarm_id": "drift-r1", "kind": "drift", "state": "open", "why": "The novelty of d7 and d8 drifted.",
    "release": "v1.0.0", "release_number": 1, "statistic": "novelty", "deliveries": ["d7", "d8"],
    "fresh_labels": 214, "needed_labels": 200, "lacking_conditions": [], "attempts": 0, "waits_for": "ready",
    "waiting": "Nothing more.",
}  # fmt: skip
KPI = {
    **DRIFT,
    "alarm_id": "kpi-r1-overkill",
    "kind": "kpi",
    "statistic": "overkill",
    "why": "Overkill is 0.4.",
}
STATION = {
    **DRIFT,
    "alarm_id": "rejected-line1-d3",
    "kind": "station",
    "statistic": "rejected",
    "station": "line1",
}


@dg.asset(partitions_def=candidates, deps=["training_request"])
def trained(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    """Stands for everything that follows a request; fails when the run says so."""
    if "fails" in context.run.tags:
        raise dg.Failure("There is no disk.")
    return dg.MaterializeResult()


class Plant:
    """One release in force, its alarms as a test puts them into the lake, and a `retrain` without a training."""

    def __init__(self, tables: Tables, deployment: Deployment, instance: dg.DagsterInstance) -> None:
        """The deployment's spec and v1.0.0 are in force, and no alarm is open."""
        self.tables, self.deployment, self.instance = tables, deployment, instance
        resources = {"io_manager": tables, "tables": tables, "deployment": deployment}
        job = dg.define_asset_job(
            "retrain",
            tags=OURS,
            selection=["training_request", "trained"],
            executor_def=dg.in_process_executor,
        )
        self.defs = dg.Definitions(
            assets=[project_spec, training_request, trained],
            jobs=[job],
            resources=resources,
        )
        self.history: list[dict[str, Any]] = []
        self.put(project_spec=to_table(load_spec(deployment.spec_file)))
        self.conclude("first", "released", "v1.0.0")

    def put(self, partition: str | None = None, **tables: pl.DataFrame) -> None:
        """Put tables on main."""
        publish_by_hand(
            self.tables.lake, {table_path(name, partition): parquet(rows) for name, rows in tables.items()}
        )

    def alarms(self, *alarms: Mapping[str, Any]) -> None:
        """Put these alarms, and no others, on main."""
        self.put(alarms=pl.DataFrame(alarms, schema=Alarms.create_empty().schema))

    def labels(self, count: int, label: str = "sound") -> pl.DataFrame:
        """Put so many agreed labels on main."""
        row = {"label": label, "status": "agreed", "labelled_at": datetime(2026, 3, 2, tzinfo=UTC)}
        rows = [{**row, "frame_id": f"{number:064}"} for number in range(count)]
        table = pl.DataFrame(rows, schema=LabelTable.create_empty().schema)
        self.put(label_table=table)
        return table

    def conclude(
        self, candidate: str, outcome: str, version: str | None = None, *, model: str | None = "cnn"
    ) -> None:
        """Add a row to the history of releases; without a model, nobody judged the candidate."""
        first = not self.history
        row = {
            "number": len(self.history) + 1, "outcome": outcome, "version": version, "candidate": candidate,
            "model": model, "spec_digest": digest(load_spec(self.deployment.spec_file)),
            "concluded_at": datetime.now(UTC) - timedelta(days=365 if first else 0),
        }  # fmt: skip
        self.history.append(row)
        self.put(releases=pl.DataFrame(self.history, schema=Releases.create_empty().schema))

    def requested(self, candidate: str, *, hours_ago: float = 0, **changed: Any) -> None:
        """Put a training request on main."""
        row = {
            "candidate": candidate, "reason": "drift", "evidence": "drift-r1", "requested_by": "retrain_on_drift",
            "requested_at": datetime.now(UTC) - timedelta(hours=hours_ago), "base_commit": "c",
            "spec_digest": digest(load_spec(self.deployment.spec_file)), "benchmark_version": 0,
            "released_version": "v1.0.0", **changed,
        }  # fmt: skip
        self.put(
            candidate, training_request=pl.DataFrame([row], schema=TrainingRequest.create_empty().schema)
        )

    def tick(self, sensor: dg.SensorDefinition) -> dg.SensorResult | str:
        """One look of a sensor: its result, or why there is none. Partitions are added, as the daemon does."""
        context = dg.build_sensor_context(instance=self.instance)
        result = sensor(context, tables=self.tables, deployment=self.deployment)
        if isinstance(result, dg.SkipReason):
            return str(result.skip_message)
        for asked in result.dynamic_partitions_requests:
            self.instance.add_dynamic_partitions(asked.partitions_def_name, asked.partition_keys)
        return result

    def run(self, request: dg.RunRequest, **tags: str) -> dg.ExecuteInProcessResult:
        """Run what was requested, as the daemon does, with more tags if you like."""
        return self.defs.resolve_job_def("retrain").execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            run_config=request.run_config,
            tags={**request.tags, "dagster/run_key": str(request.run_key), **tags},
            raise_on_error=False,
        )

    def record(self, status: dg.DagsterRunStatus, candidate: str, **tags: str) -> dg.DagsterRun:
        """Record a run of `retrain` that this test does not execute."""
        told = {**OURS, "dagster/partition": candidate, **tags}
        return self.instance.add_run(
            dg.DagsterRun("retrain", run_id=str(uuid.uuid4()), status=status, tags=told)
        )
