"""The reference step: what normal looks like to a candidate."""

import hashlib
from typing import TYPE_CHECKING, Any, Final

import dagster as dg
import polars as pl

from cv_assets.frames.schema import PreparedFrames
from cv_assets.reference.schema import NOVELTY, DriftReference
from cv_assets.spec.assets import in_force
from cv_assets.spec.drift import Drift
from cv_assets.spec.schema import Spec
from resources.contracts import Audited, Check, TableAsset, preview
from resources.deployments import Deployment
from resources.partitions import candidates
from resources.pictures import figure_png, picture
from resources.tables import Tables, parquet

if TYPE_CHECKING:
    from cv_assets.reference.calibration import Calibrated
    from cv_assets.reference.measured import Novel

EVERY_FRAME_COUNTS = Check(
    "every_training_frame_counts", "Has every training frame a value of every statistic, and its delivery?"
)
REPRODUCES = Check(
    "the_stored_reference_reproduces",
    "Does the novelty reference made of the stored bytes say what the one in memory says?",
)
IS_CALIBRATED = Check(
    "is_calibrated",
    "Are there enough reference deliveries to say how much ordinary ones differ?",
    blocking=False,
)

DRIFT_REFERENCE = TableAsset(
    "drift_reference",
    DriftReference,
    step="reference",
    kinds=frozenset({"numpy"}),
    partitions=candidates,
    on_candidate=True,
    checks=(EVERY_FRAME_COUNTS, REPRODUCES, IS_CALIBRATED),
)

TOLERANCE: Final = 1e-6
"""The largest relative difference of a novelty between the reference in memory and the stored one."""

_CAPTURES: Final = ("capture_id", "frame_id", "delivery", "accepted", "reason", "decoded", "prepared")
_SHOWN: Final = (
    "statistic",
    "role",
    "deliveries",
    "frames",
    "usual_frames",
    "median",
    "psi_level",
    "psi_level_low",
    "psi_level_high",
    "kl_level",
    "quantile",
    "calibrated",
)


def drift_reference_asset(spec: Spec) -> dg.AssetsDefinition:
    """The asset `drift_reference`, which reads the checkpoints of all models of `spec`."""
    names = [f"{model.name}_checkpoint" for model in spec.training.models]

    @dg.asset(
        **DRIFT_REFERENCE.arguments,
        ins={name: dg.AssetIn(name) for name in names},
        # Which deliveries there are says the candidate's commit, not Dagster's own list of partitions.
        deps=[dg.AssetDep("prepared_frames", partition_mapping=dg.AllPartitionMapping())],
    )
    def drift_reference(
        context: dg.AssetExecutionContext,
        project_spec: pl.DataFrame,
        split_table: pl.DataFrame,
        tables: dg.ResourceParam[Tables],
        deployment: dg.ResourceParam[Deployment],
        **checkpoints: pl.DataFrame,
    ) -> Audited:
        """What normal looks like to the candidate: one statistic of the frames that it trains on per row.

        Bins are quantiles of the training frames, frozen with the candidate. A level says how much ordinary deliveries
        differ: each delivery that trained is measured against the others. The novelty of a frame is how far it lies
        from the training frames in a frozen backbone's features. Once released, every delivery that the candidate
        judges is held against this table.
        """
        from cv_assets.reference.calibration import calibrate, delivery_shares
        from cv_assets.reference.measured import (
            Files,
            golden_frames,
            reproduction_error,
            training_frames,
            unmeasured,
        )

        settings, snapshot = in_force(project_spec, deployment), tables.snapshot(context)
        source = Files(snapshot.fetch, deployment.cache_dir)
        captures = snapshot.columns("prepared_frames", _CAPTURES, schema=PreparedFrames)
        trained = pl.concat([checkpoints[name] for name in names])
        try:
            frames, novel = training_frames(split_table, captures, trained, settings, source)
            golden = golden_frames(split_table, captures, novel.reference, source)
        except ValueError as error:
            # The same frames and settings would fail again.
            raise dg.Failure(f"drift_reference: {error}", allow_retries=False) from error
        shares = delivery_shares(captures.filter(pl.col("delivery").is_in(frames["delivery"].implode())))
        values, arrays = parquet(frames.drop("path")), novel.reference.to_bytes()
        stored = {
            _path(context, "values", values, "parquet"): values,
            _path(context, NOVELTY, arrays, "safetensors"): arrays,
        }
        made = calibrate(frames, shares, settings.drift, settings.evaluation.confidence, *stored)
        page, beside = _evidently(made.rows, frames, golden, settings.drift)
        pages = {_path(context, "evidently", page, "html"): page} if page else {}
        yield from DRIFT_REFERENCE.audited(
            made.rows,
            files={**stored, **pages},
            checks=[
                _every_frame(frames, unmeasured(frames)),
                _reproduces(reproduction_error(novel, frames, arrays, source)),
                _calibrated(made.rows, settings.drift),
            ],
            metadata={
                "rows": preview(made.rows, _SHOWN, rows_shown=made.rows.height),
                **_figures(made.rows, novel),
                "levels": _picture(made, settings.drift),
                "Evidently's page": next(iter(pages), "none"),
                "beside Evidently": beside,
            },
        )

    return drift_reference  # type: ignore[no-any-return]


def _path(context: dg.AssetExecutionContext, name: str, content: bytes, suffix: str) -> str:
    return f"drift_reference/{context.partition_key}/{name}-{hashlib.sha256(content).hexdigest()}.{suffix}"


def _evidently(
    rows: pl.DataFrame, frames: pl.DataFrame, golden: pl.DataFrame, drift: Drift
) -> tuple[bytes, str]:
    """Evidently's page on the training frames beside the golden ones, and where its verdict differs from ours."""
    if golden.is_empty():
        return b"", "The benchmark holds no golden frame to hold the training frames against."
    # Evidently takes seconds to import.
    from cv_assets.reference.calibration import beyond_level
    from cv_assets.reference.evidently_page import page

    made, ours = page(frames, golden), beyond_level(rows, golden, drift)
    return made.html, f"Golden frames beside training frames. {made.beside(ours)}"


def _every_frame(frames: pl.DataFrame, missing: pl.DataFrame) -> dg.AssetCheckResult:
    return EVERY_FRAME_COUNTS.no_rows(
        missing,
        f"{frames.height} training frames of {frames['delivery'].n_unique()} deliveries: {missing.height} values are "
        "missing.",
    )


def _reproduces(difference: float) -> dg.AssetCheckResult:
    return REPRODUCES.result(
        difference <= TOLERANCE,
        f"The novelty of the training frames differs by at most {difference:.1e} of it; {TOLERANCE:.0e} is allowed.",
        {"largest_difference": difference},
    )


def _calibrated(rows: pl.DataFrame, drift: Drift) -> dg.AssetCheckResult:
    from cv_assets.reference.words import calibration_said

    said = calibration_said(rows, drift)
    return IS_CALIBRATED.result(said.passed, said.why)


def _figures(rows: pl.DataFrame, novel: "Novel") -> dict[str, Any]:
    """What people follow from candidate to candidate."""
    row = rows.row(by_predicate=pl.col("statistic") == NOVELTY, named=True)
    figures = {
        "novelty level": row["psi_level"],
        "novelty KL level": row["kl_level"],
        "novelty median": row["median"],
    }
    features = novel.reference.features
    return {
        "deliveries": row["deliveries"],
        "frames": row["frames"],
        **{name: round(value, 4) for name, value in figures.items() if value is not None},
        "novelty features": f"{novel.features.shape[1]} of {features.model} ({features.architecture} at "
        f"{features.input_size} px, blocks {list(features.blocks) or 'none'}, {' and '.join(features.pool)}), in "
        f"{len(novel.reference.projection)} components",
    }


def _picture(made: "Calibrated", drift: Drift) -> dg.MarkdownMetadataValue:
    from cv_assets.reference.figures import levels_figure

    figure = figure_png(levels_figure(made.rows, made.differences, drift.tolerance))
    return picture(figure, "PSI of each reference delivery against the others, and the levels that follow")
