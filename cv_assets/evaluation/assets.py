"""The evaluation step: how good a candidate's models are, and whether one may be released."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import dagster as dg
import polars as pl

from cv_assets.evaluation.schema import EvaluationReport, ReleaseDecision
from cv_assets.reference.schema import DriftReference
from cv_assets.spec.assets import in_force
from cv_assets.spec.schema import Spec
from cv_assets.spec.training import RELEASED
from cv_assets.splits.schema import SplitTable
from resources.contracts import Audited, Check, TableAsset, preview
from resources.deployments import Deployment
from resources.partitions import candidates
from resources.pictures import figure_png, picture
from resources.tables import Snapshot, Tables, parquet

if TYPE_CHECKING:
    from cv_assets.evaluation.acceptance import Choice
    from cv_assets.evaluation.released import Released

EVERY_FRAME_IS_SCORED = Check(
    "every_frame_is_scored", "Has every model a score for each frame that trained or judges?"
)
ONE_PREPARATION = Check(
    "one_preparation", "Did the frames go through the pass that the models were trained on?"
)
BENCHMARK_IS_THERE = Check("benchmark_is_there", "Are there golden frames to judge by?", blocking=False)
RELEASE_IS_COMPARED = Check(
    "release_is_compared",
    "Was the release in force measured on the same frames, of which it had seen none?",
    blocking=False,
)
DRIFT_REFERENCE_IS_THERE = Check(
    "drift_reference_is_there", "Is there a reference that later deliveries can be held against?"
)
EVERY_CRITERION_IS_MET = Check(
    "every_criterion_is_met",
    "Does the candidate meet every criterion: the spec's bounds, no loss against the release in force, and a benchmark "
    "that holds what it trained on?",
    blocking=False,
)

EVALUATION_REPORT = TableAsset(
    "evaluation_report",
    EvaluationReport,
    step="evaluation",
    kinds=frozenset({"numpy"}),
    partitions=candidates,
    on_candidate=True,
    checks=(EVERY_FRAME_IS_SCORED, ONE_PREPARATION, BENCHMARK_IS_THERE, RELEASE_IS_COMPARED),
    pool="training",  # beside a training no latency would be that of a quiet machine
)
RELEASE_DECISION = TableAsset(
    "release_decision",
    ReleaseDecision,
    step="evaluation",
    partitions=candidates,
    on_candidate=True,
    # A criterion that is not met is a result, and published like any other; only a release asks for all of them.
    checks=(DRIFT_REFERENCE_IS_THERE, EVERY_CRITERION_IS_MET),
)

_HEADLINES: Final = (
    "roc_auc",
    "escape_rate",
    "overkill",
    "fail_precision",
    "review_share",
    "calibration_error",
)


def evaluation_report_asset(spec: Spec) -> dg.AssetsDefinition:
    """The asset `evaluation_report`, which reads the checkpoints of all models of `spec`."""
    names = [f"{model.name}_checkpoint" for model in spec.training.models]

    @dg.asset(**EVALUATION_REPORT.arguments, ins={name: dg.AssetIn(name) for name in names})
    def evaluation_report(
        context: dg.AssetExecutionContext,
        project_spec: pl.DataFrame,
        training_request: pl.DataFrame,
        split_table: pl.DataFrame,
        label_table: pl.DataFrame,
        tables: dg.ResourceParam[Tables],
        deployment: dg.ResourceParam[Deployment],
        **checkpoints: pl.DataFrame,
    ) -> Audited:
        """How good each model is: one metric on one set and one slice per row, with an interval that respects groups.

        Sets are the training frames as scored out of fold, and the test, golden and challenge frames. A model's
        operating band is chosen out of fold and stands here as `lower_threshold` and `upper_threshold`. The model in
        force stands beside them as `released`: scored again on the same golden and challenge frames, judged by the
        band that it decides by. The scores of all these frames lie beside the table as Parquet.
        """
        from cv_assets.evaluation.report import bands, report, with_verdicts
        from cv_assets.evaluation.scoring import Bytes, score_candidate, score_released

        settings, snapshot = in_force(project_spec, deployment), tables.snapshot(context)
        trained = pl.concat([checkpoints[name] for name in names])
        released = _released(training_request, split_table, snapshot, settings)
        files = Bytes(snapshot.fetch, deployment.cache_dir)
        scores, latencies = score_candidate(trained, split_table, settings, files)
        try:
            chosen = bands(scores, settings)
            if released and not released.unlike:
                chosen[RELEASED] = released.band
                scores = scores.vstack(score_released(released, split_table, settings, files))
            agreement = dict(label_table.select("frame_id", "agreement").iter_rows())
            rows = report(scores, chosen, agreement, latencies, settings)
        except ValueError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        kept = parquet(with_verdicts(scores, chosen, settings))
        path = f"evaluation_report/{context.partition_key}/scores-{hashlib.sha256(kept).hexdigest()}.parquet"
        yield from EVALUATION_REPORT.audited(
            rows,
            files={path: kept},
            checks=[
                *_report_checks(trained, split_table, scores, compared=RELEASED in chosen),
                _release_check(released, split_table, snapshot, settings),
            ],
            metadata={
                "scores of every frame": path,
                "headlines": _headlines(rows),
                **_side_by_side(rows, released, settings),
                **_pictures(scores, rows, chosen, settings),
            },
        )

    return evaluation_report  # type: ignore[no-any-return]


# A candidate enters the data branch as of its decision: what it must bring along is made before.
@dg.asset(**RELEASE_DECISION.arguments, deps=["drift_reference"])
def release_decision(
    context: dg.AssetExecutionContext,
    project_spec: pl.DataFrame,
    training_request: pl.DataFrame,
    split_table: pl.DataFrame,
    evaluation_report: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """Whether the candidate may be released: one criterion per row, required, measured, met or not, and why.

    Criteria are the bounds of the spec, what may be lost against the release in force on the same frames, and that the
    benchmark holds every condition that trains. It names the model, chosen by out-of-fold figures alone, and the
    operating band that it would decide by. Evidence that is missing (no such frames, too few, a figure that is not
    defined, a release that cannot be measured) is a criterion that is not met.
    """
    from cv_assets.evaluation.acceptance import band_of
    from cv_assets.evaluation.decision import decide
    from cv_assets.evaluation.rulings import met_in_words

    spec, snapshot = in_force(project_spec, deployment), tables.snapshot(context)
    released = _released(training_request, split_table, snapshot, spec)
    choice = _choice(evaluation_report, spec)
    rows = decide(
        evaluation_report, split_table, choice, spec, candidate=context.partition_key, released=released
    )
    missed = rows.filter(~pl.col("passed"))
    yield from RELEASE_DECISION.audited(
        rows,
        checks=[
            _reference_check(snapshot, context.partition_key),
            EVERY_CRITERION_IS_MET.result(
                missed.is_empty(),
                f"{met_in_words(rows).capitalize()}."
                if missed.is_empty()
                else f"{missed.height} of {rows.height} criteria are not met: {'; '.join(missed['why'])}.",
            ),
        ],
        metadata={
            "model": f"{choice.model} ({choice.why})",
            "operating band": band_of(evaluation_report, choice.model).words,
            "criteria missed": missed.height,
            "criteria": preview(
                rows, ("criterion", "kind", "measured", "low", "high", "passed", "why"), rows_shown=50
            ),
            **_side_by_side(evaluation_report, released, spec),
            # As numbers of their own they are trends over candidates.
            **_measured(rows),
        },
    )


def _released(
    training_request: pl.DataFrame, split_table: pl.DataFrame, snapshot: Snapshot, spec: Spec
) -> "Released | None":
    """What was in force when the candidate was requested; None before the first release."""
    from cv_assets.evaluation.released import Released, release_of, unlike

    version = training_request["released_version"][0]
    if version is None:
        return None
    release = release_of(snapshot.table("releases"), version)
    of_its_model = snapshot.table(f"{release['model']}_checkpoint", release["candidate"])
    checkpoint = of_its_model.row(by_predicate=pl.col("model") == release["model"], named=True)
    return Released(release, checkpoint, unlike(release, checkpoint, split_table["preparation"], spec))


def _choice(report: pl.DataFrame, spec: Spec) -> "Choice":
    from cv_assets.evaluation.acceptance import choose_model

    return choose_model(report, [model.name for model in spec.training.models], spec.evaluation.select_by)


def _measured(decision: pl.DataFrame) -> dict[str, float]:
    """What each criterion measured; one that is not defined is left out."""
    known = decision.filter(pl.col("measured").is_not_null())
    names = pl.concat_str(
        "metric", "set", pl.col("slice").replace("all", None), separator=" ", ignore_nulls=True
    )
    return dict(known.select(names, "measured").iter_rows())


def _report_checks(
    trained: pl.DataFrame, split_table: pl.DataFrame, scores: pl.DataFrame, *, compared: bool
) -> list[dg.AssetCheckResult]:
    from cv_assets.evaluation.scoring import unscored

    missing = unscored(scores, split_table, trained["model"], [RELEASED] if compared else [])
    others = set(split_table["preparation"]) ^ set(trained["preparation"])
    golden = split_table.filter(pl.col("role") == "golden")
    return [
        EVERY_FRAME_IS_SCORED.no_rows(missing),
        ONE_PREPARATION.result(
            not others,
            f"Frames and models know different passes: {', '.join(sorted(others))}."
            if others
            else "All frames and models went through one pass.",
        ),
        BENCHMARK_IS_THERE.result(
            not golden.is_empty(),
            f"{golden.height} golden frames of {golden['group'].n_unique()} groups judge.",
        ),
    ]


def _release_check(
    released: "Released | None", split_table: pl.DataFrame, snapshot: Snapshot, spec: Spec
) -> dg.AssetCheckResult:
    from cv_assets.evaluation.released import how_compared

    if released is None:
        return RELEASE_IS_COMPARED.result(True, "Not applicable: nothing is in force.")
    own_split = snapshot.table("split_table", released.release["candidate"], or_empty=SplitTable)
    fair, why = how_compared(released, own_split, split_table, asked=bool(spec.evaluation.regression))
    return RELEASE_IS_COMPARED.result(fair, why)


def _reference_check(snapshot: Snapshot, candidate: str) -> dg.AssetCheckResult:
    reference = snapshot.table("drift_reference", candidate, or_empty=DriftReference)
    return DRIFT_REFERENCE_IS_THERE.result(
        not reference.is_empty(),
        f"Candidate {candidate} has no drift_reference: materialize it, then release_decision. Without it no delivery "
        "that this model judges could be held against what it was trained on."
        if reference.is_empty()
        else f"Later deliveries can be held against {reference.height} statistics of what it trained on.",
    )


def _headlines(rows: pl.DataFrame) -> dg.TableMetadataValue:
    """The figures that people ask for first, one line per model and set."""
    shown = rows.filter(pl.col("slice") == "all", pl.col("metric").is_in(_HEADLINES))
    told = pl.format(
        "{} [{}, {}]",
        *(pl.col(name).round(3).cast(pl.String).fill_null("-") for name in ("value", "low", "high")),
    )
    wide = shown.with_columns(told=told).pivot("metric", index=["model", "set"], values="told")
    return preview(wide, rows_shown=40)


def _side_by_side(report: pl.DataFrame, released: "Released | None", spec: Spec) -> dict[str, Any]:
    """The candidate's model beside the one in force, on the same frames, as people compare them."""
    from cv_assets.evaluation.regression import side_by_side

    if released is None:
        return {"release in force": "none: there is nothing to be held against"}
    model = _choice(report, spec).model
    compared = side_by_side(report, model, _HEADLINES)
    if compared.is_empty():
        why = released.unlike or "the benchmark holds no frames"
        return {"release in force": f"{released.words}. It was not measured again: {why}"}
    return {
        "release in force": f"{released.words}. It was measured again, on the same frames as {model}",
        f"{model} beside {released.version}": preview(compared, rows_shown=100),
    }


def _pictures(
    scores: pl.DataFrame, rows: pl.DataFrame, chosen: Mapping[str, Any], spec: Spec
) -> dict[str, dg.MarkdownMetadataValue]:
    from cv_assets.evaluation.figures import scores_figure, slices_figure
    from cv_assets.evaluation.report import judge_frames

    pictures = {}
    for model, band in chosen.items():
        sets = {
            str(name): judge_frames(part, spec)
            for (name,), part in scores.filter(pl.col("model") == model).group_by("set", maintain_order=True)
        }
        if not sets:
            continue  # the release in force, where there is no benchmark
        figure = figure_png(scores_figure(sets, band, spec.evaluation.calibration_bins))
        pictures[f"scores of {model}"] = picture(figure, f"{model}: {band.words}")
    for set_ in rows["set"].unique(maintain_order=True):
        figure = figure_png(slices_figure(rows, set_))
        pictures[f"slices of {set_}"] = picture(figure, f"metrics by slice, {set_}")
    return pictures
