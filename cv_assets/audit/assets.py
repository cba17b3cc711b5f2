"""The audit step: looking back at verdicts. It explains them and plays them again, and changes none."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl
from pydantic import Field

from cv_assets.audit.schema import ThresholdReplay, VerdictExplanation
from cv_assets.inspection.schema import Inspections
from cv_assets.labels.schema import BenchmarkFrames, LabelTable
from cv_assets.release.schema import Releases
from cv_assets.spec.assets import in_force
from resources.contracts import Audited, Check, TableAsset, preview
from resources.deployments import Deployment
from resources.pictures import figure_png, montage, picture
from resources.tables import Snapshot, Tables, table_path

if TYPE_CHECKING:
    from cv_assets.audit.effects import Effect
    from cv_assets.frames.preparing import Shown

OWN_BAND_GIVES_THE_STORED_VERDICTS = Check(
    "own_band_gives_the_stored_verdicts",
    "Do the stored scores give exactly the stored verdicts when they are held against the thresholds that were in "
    "effect? If not, what differs in a replay would not be the doing of its band.",
)
SPEC_BOUNDS_ARE_MET = Check(
    "spec_bounds_are_met",
    "Does the replayed band meet the spec's bounds on escapes and on failing, by what is known of the captures?",
    blocking=False,
)
ENOUGH_IS_KNOWN = Check(
    "enough_is_known",
    "Did people answer for enough captures to tell whether the replayed band meets the spec's bounds? It is enough "
    "when every interval lies on one side of its bound.",
    blocking=False,
)

THRESHOLD_REPLAY = TableAsset(
    "threshold_replay",
    ThresholdReplay,
    step="audit",
    checks=(OWN_BAND_GIVES_THE_STORED_VERDICTS, SPEC_BOUNDS_ARE_MET, ENOUGH_IS_KNOWN),
)
VERDICT_EXPLANATION = TableAsset("verdict_explanation", VerdictExplanation, step="audit")


class Replay(dg.Config):
    """The operating band to try on stored scores. Nothing that was decided changes."""

    lower: float = Field(description="Below this defect score a part would pass; 0 to 1. 0: none would.")
    upper: float = Field(
        description="From this defect score on a part would fail; 0 to 1, not below `lower`. 2: none would."
    )
    release: str = Field(
        "", description="The version whose verdicts are replayed, e.g. v1.0.0. Empty: the one in force."
    )
    deliveries: list[str] = Field(
        default_factory=list, description="Only these deliveries. Empty: all that the version inspected."
    )


@dg.asset(**THRESHOLD_REPLAY.arguments, deps=["inspections", "label_table", "benchmark_frames", "releases"])
def threshold_replay(
    context: dg.AssetExecutionContext,
    config: Replay,
    project_spec: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """What another operating band would have made of stored scores: one capture per row, its verdict then and now.

    This is the newest replay; each earlier one stays readable as a commit of the lake. Where people answered for
    captures that they were asked about, it shows what the band does to escapes, overkill, precision and review load.
    It changes no verdict and no release: a band comes into force only with a release, as the job `replay_thresholds`
    says.
    """
    from cv_assets.audit import replay
    from cv_assets.audit.effects import as_table, bounds_are_met, effects, enough_is_known
    from cv_assets.audit.figures import changed_frames, replay_figure

    spec, snapshot = in_force(project_spec, deployment), tables.snapshot(context)
    try:
        band = replay.proposed_band(config.lower, config.upper)
        version = replay.version_to_replay(config.release, snapshot.table("releases", or_empty=Releases))
        keys = replay.deliveries_to_replay(config.deliveries, snapshot.partitions("inspections"))
        scored = replay.scored_by(_inspections(snapshot, keys, replay.NEEDED), version)
    except replay.CannotReplayError as error:
        raise dg.Failure(f"{error}.", allow_retries=False) from error
    truth = replay.known_truth(
        snapshot.table("label_table", or_empty=LabelTable),
        snapshot.table("benchmark_frames", or_empty=BenchmarkFrames),
    )
    rows = replay.replay(scored, truth, band)
    found = effects(rows, spec.evaluation, spec.pass_class)
    answers, others = replay.answers_by_verdict(scored, rows), replay.contradictions(scored)
    figure = replay_figure(rows, replay.bands_in_effect(scored), band, spec.pass_class)
    changed = changed_frames(rows, scored, snapshot.fetch, spec.preparation.bounds.max_pixels)
    yield from THRESHOLD_REPLAY.audited(
        rows,
        checks=[
            OWN_BAND_GIVES_THE_STORED_VERDICTS.no_rows(
                others,
                f"{scored.height - others.height} of {scored.height} stored verdicts follow from their stored scores "
                "and thresholds.",
            ),
            SPEC_BOUNDS_ARE_MET.result(*bounds_are_met(found)),
            ENOUGH_IS_KNOWN.result(*enough_is_known(found, answers), {"answers": preview(answers)}),
        ],
        metadata={
            "in short": replay.in_short(rows, scored, band),
            "before and after": preview(as_table(found)),
            "verdicts": preview(replay.transitions(rows)),
            "changes": preview(replay.changes(rows, spec.pass_class), rows_shown=6),
            **_numbers(rows, found),
            "scores": picture(
                figure_png(figure), "stored scores with the band in effect and the replayed one"
            ),
            **({"changed frames": _sheet(changed)} if changed.images else {}),
        },
    )


def _inspections(snapshot: Snapshot, deliveries: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
    if not deliveries:
        return Inspections.create_empty().select(columns)
    # Some columns of what may be thousands of tables: the files are mapped, not loaded.
    files = [snapshot.fetch(table_path("inspections", key)) for key in deliveries]
    return pl.scan_parquet(files).select(columns).collect()


def _numbers(rows: pl.DataFrame, found: "Sequence[Effect]") -> dict[str, int | float]:
    """What Dagster plots from replay to replay."""
    estimates = {
        f"{one.name} {when}": estimate.interval.value
        for one in found
        for when, estimate in (("before", one.before), ("after", one.after))
    }
    return {
        "captures": rows.height,
        "changed": int(rows["changed"].sum()),
        "answered": int(rows["weight"].count()),
        **{name: value for name, value in estimates.items() if value is not None},
    }


def _sheet(changed: "Shown") -> dg.MarkdownMetadataValue:
    return picture(montage(changed.images, changed.captions), "frames that would get another verdict")
