"""Drift on a real embedded lake, by a release whose reference was made of frames of one brightness."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import dagster as dg
import numpy as np
import polars as pl
import pytest
from by_hand import edit_spec
from make_releases import MODEL, NOON, Line, score_of
from run_results import checks, failure, metadata, passed

from cv_assets.drift.assets import drift_metrics
from cv_assets.drift.schema import DriftMetrics
from cv_assets.frames.schema import PreparedFrames
from cv_assets.reference.calibration import calibrate, delivery_shares
from cv_assets.reference.novelty import FeatureSettings, NoveltyReference, cross_fitted
from cv_assets.reference.statistics import PLAIN, SHARES
from cv_assets.spec.drift import Novelty
from cv_assets.training.inference import load_predictor
from resources.partitions import deliveries
from resources.tables import parquet, table_path

SETTINGS = Novelty(dimensions=3, neighbours=5)
ORDINARY, FAR = (150, 170), (20, 40)


@pytest.fixture
def plant(tables, deployment, instance):
    return Plant(tables, deployment, instance)


def brightness(number: int, between: tuple[int, int]) -> list[int]:
    """40 grey levels of the delivery with this number: each has its own centre, as lots do."""
    low, high = between
    drawn = np.random.default_rng(number)
    return np.clip(drawn.uniform(low, high) + drawn.normal(0, 6, 40), 1, 254).astype(int).tolist()


class Plant(Line):
    """A line whose releases have a reference, and whose deliveries are measured."""

    def refer(self, version: str = "v1.0.0", *, deliveries_: int = 12, **changed: object) -> None:
        """Publish the drift_reference of a released candidate; `changed` replaces columns of the novelty's row."""
        candidate = f"candidate-of-{version}"
        frames = trained(deliveries_)
        features_N3 = np.repeat(frames["decoded.brightness"].to_numpy()[:, None], 3, axis=1).astype(
            np.float32
        )
        own = pl.Series("novelty", cross_fitted(features_N3, frames["delivery"].to_list(), SETTINGS))
        stored = NoveltyReference.fit(features_N3, SETTINGS, self._features(candidate)).to_bytes()
        arrays = f"drift_reference/{candidate}/novelty-{hashlib.sha256(stored).hexdigest()}.safetensors"
        rows = calibrate(
            frames.with_columns(own),
            delivery_shares(PreparedFrames.create_empty()),
            self.spec.drift,
            confidence=0.95,
            values="drift_reference/values.parquet",
            arrays=arrays,
        ).rows
        of_novelty = pl.col("statistic") == "novelty"
        replaced = {
            name: pl.when(of_novelty).then(pl.lit(value)).otherwise(name) for name, value in changed.items()
        }
        self.put(
            {table_path("drift_reference", candidate): parquet(rows.with_columns(**replaced)), arrays: stored}
        )

    def bring(
        self, delivery: str, cells: Mapping[str, int | str] | list[int], *, day: int = 0, digest: str = ""
    ) -> None:
        """Publish a delivery captured on that day, with its verdicts."""
        if isinstance(cells, list):
            cells = {f"p{number}": grey for number, grey in enumerate(cells)}
        self.deliver(delivery, cells, digest=digest)
        head = self.tables.head()
        raw, prepared = (head.table(name, delivery) for name in ("raw_frames", "prepared_frames"))
        known = pl.Series(
            [None if isinstance(cell, str) else float(cell) for cell in cells.values()], dtype=pl.Float64
        )
        self.put(
            {
                table_path("raw_frames", delivery): parquet(
                    raw.with_columns(pl.col("captured_at") + pl.duration(days=day))
                ),
                table_path("prepared_frames", delivery): parquet(with_brightness(prepared, known)),
            }
        )
        assert self.inspect(delivery, "inspections").success

    def measure(self, delivery: str) -> dg.ExecuteInProcessResult:
        """Materialize drift_metrics of a delivery."""
        upstream = [
            dg.AssetSpec("project_spec"),
            *(
                dg.AssetSpec(name, partitions_def=deliveries)
                for name in ("raw_frames", "prepared_frames", "inspections")
            ),
        ]
        return dg.materialize(
            [*upstream, drift_metrics],
            selection=["drift_metrics"],
            partition_key=delivery,
            resources=self.resources,
            instance=self.instance,
            raise_on_error=False,
        )

    def rows(self, delivery: str) -> dict[str, dict[str, object]]:
        """Statistic -> its row."""
        table = self.tables.head().table("drift_metrics", delivery)
        return {one["statistic"]: one for one in table.iter_rows(named=True)}

    def _features(self, candidate: str) -> FeatureSettings:
        head = self.tables.head()
        checkpoint = head.table(f"{MODEL.name}_checkpoint", candidate).row(0, named=True)
        extractor = load_predictor(checkpoint, head.fetch, self.deployment.cache_dir).extractor
        return replace(FeatureSettings.of(checkpoint, SETTINGS), blocks=extractor.blocks, pool=extractor.pool)


def trained(deliveries_: int) -> pl.DataFrame:
    """The values of the training frames of ordinary deliveries: flat pictures, of which only the level differs."""
    levels = [
        (f"ref{number}", grey) for number in range(deliveries_) for grey in brightness(number, ORDINARY)
    ]
    frames = pl.DataFrame(levels, schema={"delivery": pl.String, "grey": pl.Float64}, orient="row")
    plain = {name: pl.col("grey") if name.endswith(".brightness") else pl.lit(0.0) for name in PLAIN}
    scores = pl.Series("score.cnn", [score_of(grey) for _, grey in levels])
    return frames.with_columns(**plain).with_columns(scores).drop("grey")


def with_brightness(prepared: pl.DataFrame, known: pl.Series) -> pl.DataFrame:
    """Prepared frames with the statistics of flat pictures."""
    fields = [field.name for field in prepared.schema["decoded"].fields]
    flat = pl.struct(
        known.alias("brightness"), *(pl.lit(0.0).alias(name) for name in fields if name != "brightness")
    )
    return prepared.with_columns(decoded=flat, prepared=flat)


def test_an_ordinary_delivery_is_measured_against_the_release_that_judged_it(plant):
    plant.release("v1.0.0")
    plant.refer()
    plant.bring("d1", brightness(77, ORDINARY))
    result = plant.measure("d1")
    assert result.success, failure(result)
    assert all(passed(result).values()), checks(result)
    table, rows = plant.tables.head().table("drift_metrics", "d1"), plant.rows("d1")
    DriftMetrics.validate(table)
    assert list(rows) == ["novelty", *PLAIN, "score.cnn", *SHARES]
    assert table["captured_from"].unique().to_list() == [NOON]
    novelty = rows["novelty"]
    assert (novelty["verdict"], novelty["role"], novelty["frames"]) == ("ok", "alarms", 40)
    assert (novelty["release"], novelty["release_number"], novelty["candidate"]) == (
        "v1.0.0",
        1,
        "candidate-of-v1.0.0",
    )
    assert checks(result)["no_drift"].description.startswith(
        "None of 16 statistics drifted from what v1.0.0 was trained on. novelty: PSI "
    )


def test_the_values_of_every_frame_are_stored(plant):
    plant.release("v1.0.0")
    plant.refer()
    plant.bring("d1", [*brightness(77, ORDINARY), 30])
    assert plant.measure("d1").success
    path = plant.rows("d1")["novelty"]["values"]
    head = plant.tables.head()
    assert hashlib.sha256(head.read(path)).hexdigest() in path
    values = pl.read_parquet(head.fetch(path))
    assert values.columns == ["capture_id", "delivery", *PLAIN, "score.cnn", "novelty"]
    assert values.filter(pl.col("novelty") == pl.col("novelty").max())["capture_id"].to_list() == ["d1-p40"]
    verdicts = head.table("inspections", "d1")
    assert values["score.cnn"].to_list() == verdicts["defect_score"].to_list()


def test_frames_that_never_trained_drift_and_late_deliveries_count_where_they_were_captured(plant):
    plant.release("v1.0.0")
    plant.refer()
    for day, key in enumerate(["d1", "late", "d2"]):
        plant.bring(key, brightness(day, ORDINARY if key == "late" else FAR), day=day)
    said = checks(plant.measure("d1"))["no_drift"]
    assert not said.passed
    assert said.severity == dg.AssetCheckSeverity.WARN
    assert "4 of 16 statistics drifted from what v1.0.0 was trained on. novelty: PSI" in said.description
    assert "This is a warning (1 so far; an alarm takes 2 in a row or 3 of 5)" in said.description
    assert [record.data["statistic"] for record in said.metadata["drifted"].value.records] == [
        "novelty",
        "decoded.brightness",
        "prepared.brightness",
        "score.cnn",
    ]
    assert (
        "A drift alarm covers 2 deliveries, this one among them"
        in checks(plant.measure("d2"))["no_drift"].description
    )
    assert passed(plant.measure("late"))["no_drift"]
    assert "2 so far; an alarm takes 2 in a row" in checks(plant.measure("d2"))["no_drift"].description


def test_people_follow_figures_and_see_distributions_and_the_most_novel_frames(plant):
    plant.release("v1.0.0")
    plant.refer()
    frames = {f"p{number}": grey for number, grey in enumerate(brightness(1, FAR))}
    plant.bring("d1", {**frames, "soft": "low_focus"})
    shown, novelty = metadata(plant.measure("d1"), "drift_metrics"), plant.rows("d1")["novelty"]
    assert shown["novelty PSI"] == pytest.approx(novelty["psi"], abs=1e-4)
    assert shown["novelty level"] == pytest.approx(novelty["psi_level"], abs=1e-4)
    assert shown["novelty KL"] == pytest.approx(novelty["kl"], abs=1e-4)
    assert shown["drifted statistics"] == 4
    assert shown["rejected share"] == pytest.approx(1 / 41, abs=1e-4)
    assert shown["reference"] == "of v1.0.0 (candidate-of-v1.0.0)"
    assert len(shown["rows"].records) == len(plant.rows("d1"))
    assert {"distributions", "most novel frames"} <= shown.keys()


def test_before_the_first_release_only_the_station_is_judged(plant):
    plant.bring("d1", {f"p{number}": "low_focus" if number < 9 else 160 for number in range(40)})
    result = plant.measure("d1")
    assert result.success, failure(result)
    rows = plant.rows("d1")
    assert {one["verdict"] for one in rows.values() if one["role"] != "station"} == {"no_reference"}
    assert (rows["novelty"]["release_number"], rows["novelty"]["candidate"]) == (None, None)
    assert rows["rejected.low_focus"]["verdict"] == "drifted"
    assert checks(result)["no_drift"].description == (
        "Not known: There is no reference: no release judged it, as no release is in force. "
        "Release a candidate that has a drift_reference; it measures the deliveries that come after it."
    )
    assert not passed(result)["station_is_sound"]
    shown = metadata(result, "drift_metrics")
    assert "distributions" not in shown
    assert shown["reference"] == "none: no release is in force"


def test_a_release_of_an_older_lake_has_no_reference_and_says_so(plant):
    plant.release("v1.0.0")
    plant.bring("d1", brightness(1, FAR))
    result = plant.measure("d1")
    assert result.success, failure(result)
    assert passed(result)["no_drift"]
    assert checks(result)["no_drift"].metadata["known"].value is False
    assert "v1.0.0 was released without a drift_reference" in checks(result)["no_drift"].description
    assert plant.rows("d1")["novelty"]["release"] == "v1.0.0"
    assert not [path for path in metadata(result, "drift_metrics")["lake/reads"] if "safetensors" in path]


def test_a_reference_of_few_deliveries_gives_figures_and_a_warning(plant):
    plant.release("v1.0.0")
    plant.refer(deliveries_=4)
    plant.bring("d1", brightness(1, FAR))
    result = plant.measure("d1")
    assert plant.rows("d1")["novelty"]["verdict"] == "not_calibrated"
    said = checks(result)["no_drift"]
    assert said.passed
    assert said.description.startswith("Not known: ")
    assert "4 deliveries of the reference are too few" in said.description
    assert "novelty PSI" in metadata(result, "drift_metrics")


def test_a_delivery_without_captures_has_an_empty_table(plant):
    plant.bring("d1", {})
    result = plant.measure("d1")
    assert result.success, failure(result)
    assert plant.tables.head().has("drift_metrics", "d1")
    assert (plant.rows("d1"), all(passed(result).values())) == ({}, True)


def test_a_delivery_of_rejected_frames_has_no_verdict_but_on_its_station(plant):
    plant.release("v1.0.0")
    plant.refer()
    plant.bring("d1", {f"p{number}": "low_focus" for number in range(40)})
    result = plant.measure("d1")
    assert result.success, failure(result)
    rows = plant.rows("d1")
    assert {one["verdict"] for one in rows.values() if one["role"] != "station"} == {"not_enough"}
    assert rows["rejected"]["verdict"] == "drifted"
    assert (passed(result)["no_drift"], passed(result)["station_is_sound"]) == (True, False)
    assert checks(result)["no_drift"].description.startswith(
        "Not known: 0 frames have a value; a verdict needs"
    )


def test_frames_of_another_pass_are_compared_by_their_decoded_image_alone(plant):
    plant.release("v1.0.0")
    plant.refer()
    plant.bring("d1", brightness(1, FAR), digest="another")
    result = plant.measure("d1")
    assert result.success, failure(result)
    verdicts = {name: one["verdict"] for name, one in plant.rows("d1").items()}
    assert (verdicts["novelty"], verdicts["prepared.brightness"]) == ("not_enough", "not_enough")
    assert verdicts["decoded.brightness"] == "drifted"
    assert "40 went through another pass than the training frames" in plant.rows("d1")["novelty"]["why"]
    assert checks(result)["no_drift"].description.startswith(
        "Not known: 0 frames have a value; 40 went through"
    )


def test_a_camera_that_stands_still_alarms_its_station_and_is_no_drift(plant):
    plant.release("v1.0.0")
    plant.refer()
    plant.bring("d1", brightness(1, FAR))
    raw, verdicts = (plant.tables.head().table(name, "d1") for name in ("raw_frames", "inspections"))
    still = pl.lit(raw["frame_id"][0]).alias("frame_id")
    plant.put(
        {
            table_path("raw_frames", "d1"): parquet(raw.with_columns(still)),
            table_path("inspections", "d1"): parquet(verdicts.with_columns(still)),
        }
    )
    result = plant.measure("d1")
    assert plant.rows("d1")["repeated"]["verdict"] == "drifted"
    assert plant.rows("d1")["novelty"]["verdict"] == "not_enough"
    assert "whether its camera stands still" in checks(result)["station_is_sound"].description


def test_a_delivery_stays_with_the_release_that_judged_it_and_measured_again_nothing_changes(plant):
    plant.release("v1.0.0")
    plant.refer()
    plant.bring("d1", brightness(1, FAR))
    plant.release("v1.1.0")
    plant.refer("v1.1.0", psi_level=99.0)
    assert plant.measure("d1").success
    head, before = plant.tables.head().commit, plant.rows("d1")
    assert (before["novelty"]["release"], before["novelty"]["verdict"]) == ("v1.0.0", "drifted")
    result = plant.measure("d1")
    assert result.success, failure(result)
    assert plant.tables.head().commit == head
    assert plant.rows("d1") == before
    assert checks(result)["what_was_measured_stands"].description == (
        "Every figure is the one that was measured before."
    )


def test_another_tolerance_judges_anew_but_figures_that_were_measured_cannot_become_others(plant, deployment):
    plant.release("v1.0.0")
    plant.refer()
    plant.bring("d1", brightness(1, FAR))
    plant.measure("d1")
    before = plant.rows("d1")["novelty"]
    edit_spec(deployment, "drift:\n", "drift:\n  tolerance: 99.0\n")
    lenient = Plant(plant.tables, deployment, plant.instance)
    assert lenient.measure("d1").success
    now = lenient.rows("d1")
    assert (before["verdict"], now["novelty"]["verdict"]) == ("drifted", "ok")
    assert now["novelty"]["psi"] == before["psi"]
    prepared = plant.tables.head().table("prepared_frames", "d1")
    other = with_brightness(prepared, pl.Series([100.0] * 40))
    plant.put({table_path("prepared_frames", "d1"): parquet(other)})
    result = lenient.measure("d1")
    assert "it failed what_was_measured_stands" in failure(result)
    said = checks(result)["what_was_measured_stands"]
    assert "figures would be others, though the reference is frozen" in said.description
    assert said.metadata["offenders"].value.records[0].data["statistic"] == "decoded.brightness"
    assert lenient.rows("d1") == now


def test_a_novelty_reference_that_the_lake_lacks_or_holds_damaged_is_named_with_what_to_do(plant):
    plant.release("v1.0.0")
    plant.refer()
    plant.bring("d1", brightness(1, FAR))
    head = plant.tables.head()
    (path,) = head.table("drift_reference", "candidate-of-v1.0.0")["arrays"].drop_nulls()
    plant.put({path: head.read(path)[:-8] + b"\0" * 8})
    assert "the stored bytes have" in failure(plant.measure("d1"))
    plant.refer(arrays="drift_reference/novelty-lost.safetensors")
    said = failure(plant.measure("d1"))
    assert "The novelty cannot be measured: " in said
    assert "novelty-lost.safetensors" in said
    assert "Put back from the backup what the lake lacks, then re-execute the run from failure." in said
    assert not plant.tables.head().has("drift_metrics", "d1")


def test_the_line_is_told_before_drift_is_measured():
    (keys,) = drift_metrics.asset_deps.values()
    assert {dg.AssetKey("outbox"), dg.AssetKey("inspections")} <= keys
