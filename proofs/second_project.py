"""A second, unrelated use case reaches its first release by its spec file and its pictures alone."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import dagster as dg

from cv_assets.definitions import definitions
from cv_assets.spec.load import load_spec
from demo.digits import AFTER, CANDIDATE, GOLDEN, SPEC_FILE, TRAIN, Part, export, image, lots
from proofs.proof import Proof
from resources.deployments import Deployment
from resources.partitions import candidates
from resources.tables import Tables
from sensors.new_deliveries import new_deliveries
from sensors.new_exports import new_exports

ASKED: Final = (
    "A second use case goes from files in a folder to a release and its verdicts, without a line of code."
)
_LOOKS: Final = 100
"""Of a sensor, until what is waited for must have been asked."""


def prove() -> Proof:
    """Plays `specs/digits.yaml` in one process; what its sensors ask for is run at once."""
    with (
        TemporaryDirectory(prefix="proof-second-", ignore_cleanup_errors=True) as name,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        deployment = Deployment(SPEC_FILE, Path(name) / "data", "main", "http://127.0.0.1:3000")
        begun = time.monotonic()
        figures = _played(Press(deployment, instance))
    return judged({**figures, "waited": round(time.monotonic() - begun, 1)})


def judged(figures: Mapping[str, Any]) -> Proof:
    """Whether the figures hold the claim: a version, and a verdict on every part that came after it."""
    holds = figures["released"] == ["v1.0.0"] and sum(figures["verdicts"].values()) == figures["parts"] > 0
    return Proof(ASKED, holds, f"Released: {figures['released']}; then {figures['verdicts']}.", figures)


class Press:
    """The project in one process."""

    def __init__(self, deployment: Deployment, instance: dg.DagsterInstance) -> None:
        """Nothing has happened yet."""
        self.instance, spec = instance, load_spec(deployment.spec_file)
        self.inbox = deployment.folder(spec.acquisition.inbox)
        self.exports = deployment.folder(spec.labels.exports)
        self.approver, self.guideline = spec.release.approvers[0], spec.labels.guideline
        self.repository = definitions(deployment).get_repository_def()
        self.tables = Tables(deployment)
        self._given = {"tables": self.tables, "deployment": deployment}
        self._cursors: dict[str, str | None] = {}

    def run(self, job: str, partition: str | None = None, **config: Mapping[str, str]) -> None:
        """Run the job to its end. Raises what a step raised."""
        self.repository.get_job(job).execute_in_process(
            instance=self.instance,
            partition_key=partition,
            run_config={"ops": {op: {"config": given} for op, given in config.items()}},
        )

    def look_until(self, runs: int, sensor: dg.SensorDefinition, job: str) -> None:
        """Let the sensor look until it has asked for so many runs, each of which is run. Raises TimeoutError."""
        for _ in range(_LOOKS):
            runs -= self._look(sensor, job)
            if runs <= 0:
                return
            time.sleep(0.1)
        raise TimeoutError(f"{sensor.name} still had to ask for {runs} runs after {_LOOKS} looks")

    def _look(self, sensor: dg.SensorDefinition, job: str) -> int:
        cursor = self._cursors.get(sensor.name)
        looked = sensor(dg.build_sensor_context(self.instance, cursor=cursor, resources=self._given))
        if not isinstance(looked, dg.SensorResult):
            return 0
        self._cursors[sensor.name] = looked.cursor
        for asked in looked.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(asked.partitions_def_name, list(asked.partition_keys))
        requests = looked.run_requests or []
        for request in requests:
            self.run(job, request.partition_key)
        return len(requests)


def _played(press: Press) -> dict[str, Any]:
    stamped = lots()
    train, golden, after = (_parts(stamped[role]) for role in (TRAIN, GOLDEN, AFTER))
    press.run("publish_spec")
    image(press.inbox, train + golden)
    press.look_until(len(stamped[TRAIN] + stamped[GOLDEN]), new_deliveries, "receive")
    export(press.exports, "stamps-1", train, press.guideline)
    export(press.exports, "golden-1", golden, press.guideline, benchmark="golden", verified_by="eva.golden")
    press.look_until(2, new_exports, "take_labels")
    press.instance.add_dynamic_partitions(str(candidates.name), [CANDIDATE])
    evidence = {"reason": "first_release", "evidence": "the first labelled lots", "requested_by": "ann"}
    press.run("retrain", CANDIDATE, training_request=evidence)
    press.run("release", releases={"candidate": CANDIDATE, "approver": press.approver, "why": "All are met."})
    image(press.inbox, after)
    press.look_until(len(stamped[AFTER]), new_deliveries, "receive")
    return _found(press, {part.file_name for part in after})


def _parts(stamped: Sequence[Sequence[Part]]) -> list[Part]:
    return [part for lot in stamped for part in lot]


def _found(press: Press, after: set[str]) -> dict[str, Any]:
    head = press.tables.head()
    by_release = head.tables("inspections").drop_nulls("release")
    return {
        "released": head.table("releases")["version"].to_list(),
        "parts": len(after),
        "verdicts": dict(by_release["verdict"].value_counts(sort=True).iter_rows()),
    }
