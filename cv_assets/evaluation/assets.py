"""The evaluation step: how good a candidate's models are, and whether one may be released."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import dagster as dg
import polars as pl

from cv_assets.evaluation.schema import EvaluationReport, ReleaseDecision
from cv_assets.spec.assets import in_force
from cv_assets.spec.schema import Spec
from resources.contracts import Audited, Check, TableAsset, preview
from resources.deployments import Deployment
from resources.partitions import candidates
from resources.pictures import figure_png, picture
from resources.tables import Snapshot, Tables, parquet

EVERY_FRAME_IS_SCORED = Check(
    "every_frame_is_scored", "Has every model a score for each frame that trained or judges?"
)
ONE_PREPARATION = Check(
    "one_preparation", "Did the frames go through the pass that the models were trained on?"
)
BENCHMARK_IS_THERE = Check("benchmark_is_there", "Are there golden frames to judge by?", blocking=False)
EVERY_CRITERION_IS_MET = Check(
    "every_criterion_is_met", "Does the candidate meet every acceptance criterion?", blocking=False
)

EVALUATION_REPORT = TableAsset(
    "evaluation_report",
    EvaluationReport,
    step="evaluation",
    kinds=frozenset({"numpy"}),
    partitions=candidates,
    on_candidate=True,
    checks=(EVERY_FRAME_IS_SCORED, ONE_PREPARATION, BENCHMARK_IS_THERE),
    pool="training",  # beside a training no latency would be that of a quiet machine
)
RELEASE_DECISION = TableAsset(
    "release_decision",
    ReleaseDecision,
    step="evaluation",
    partitions=candidates,
    on_candidate=True,
    # A criterion that is not met is a result, and published like any other; only a release asks for all of them.
    checks=(EVERY_CRITERION_IS_MET,),
)

_CHUNK: Final = 256
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
        split_table: pl.DataFrame,
        label_table: pl.DataFrame,
        tables: dg.ResourceParam[Tables],
        deployment: dg.ResourceParam[Deployment],
        **checkpoints: pl.DataFrame,
    ) -> Audited:
        """How good each model is: one metric on one set and one slice per row, with an interval that respects groups.

        Sets are the training frames as scored out of fold, and the test, golden and challenge frames. A model's
        operating band is chosen out of fold and stands here as `lower_threshold` and `upper_threshold`. The scores of
        all these frames lie beside the table as Parquet.
        """
        from cv_assets.evaluation.report import bands, report, with_verdicts

        settings, snapshot = in_force(project_spec, deployment), tables.snapshot(context)
        trained = pl.concat([checkpoints[name] for name in names])
        scores, latencies = _score(trained, split_table, snapshot, settings, deployment)
        try:
            chosen = bands(scores, settings)
            agreement = dict(label_table.select("frame_id", "agreement").iter_rows())
            rows = report(scores, chosen, agreement, latencies, settings)
        except ValueError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        kept = parquet(with_verdicts(scores, chosen, settings))
        path = f"evaluation_report/{context.partition_key}/scores-{hashlib.sha256(kept).hexdigest()}.parquet"
        yield from EVALUATION_REPORT.audited(
            rows,
            files={path: kept},
            checks=_report_checks(trained, split_table, scores),
            metadata={
                "scores of every frame": path,
                "headlines": _headlines(rows),
                **_pictures(scores, rows, chosen, settings),
            },
        )

    return evaluation_report  # type: ignore[no-any-return]


@dg.asset(**RELEASE_DECISION.arguments)
def release_decision(
    context: dg.AssetExecutionContext,
    project_spec: pl.DataFrame,
    training_request: pl.DataFrame,
    evaluation_report: pl.DataFrame,
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """Whether the candidate may be released: one acceptance criterion per row, required, measured, met or not, and why.

    It names the model, chosen by out-of-fold figures alone, and the operating band that it would decide by. Evidence
    that is missing (no such frames, too few, a figure that is not defined) is a criterion that is not met.
    """
    from cv_assets.evaluation.acceptance import band_of, choose_model, decide

    spec = in_force(project_spec, deployment)
    choice = choose_model(
        evaluation_report, [model.name for model in spec.training.models], spec.evaluation.select_by
    )
    rows = decide(
        evaluation_report,
        spec.evaluation.acceptance,
        choice,
        candidate=context.partition_key,
        released_version=training_request["released_version"][0],
    )
    missed = rows.filter(~pl.col("passed"))
    yield from RELEASE_DECISION.audited(
        rows,
        checks=[
            EVERY_CRITERION_IS_MET.result(
                missed.is_empty(),
                f"All {rows.height} criteria are met."
                if missed.is_empty()
                else f"{missed.height} of {rows.height} criteria are not met: {'; '.join(missed['why'])}.",
            )
        ],
        metadata={
            "model": f"{choice.model} ({choice.why})",
            "operating band": band_of(evaluation_report, choice.model).words,
            "criteria missed": missed.height,
            "criteria": preview(
                rows, ("criterion", "measured", "low", "high", "passed", "why"), rows_shown=50
            ),
            # As numbers of their own they are trends over candidates.
            **_measured(rows),
        },
    )


def _measured(decision: pl.DataFrame) -> dict[str, float]:
    """What each criterion measured; one that is not defined is left out."""
    known = decision.filter(pl.col("measured").is_not_null())
    names = pl.concat_str(
        "metric", "set", pl.col("slice").replace("all", None), separator=" ", ignore_nulls=True
    )
    return dict(known.select(names, "measured").iter_rows())


def _score(
    trained: pl.DataFrame, split_table: pl.DataFrame, snapshot: Snapshot, spec: Spec, deployment: Deployment
) -> tuple[pl.DataFrame, dict[tuple[str, str], list[float]]]:
    """The scores of all sets by all models, and the latencies where the spec asks for them."""
    import numpy as np

    from cv_assets.evaluation.report import JUDGING, judging_scores, out_of_fold_scores
    from cv_assets.training.features import read_image
    from cv_assets.training.inference import latency_ms, load_predictor

    judging = split_table.filter(pl.col("role").is_in(JUDGING)).sort("role", "frame_id")
    parts, latencies = [out_of_fold_scores(trained, split_table)], dict[tuple[str, str], list[float]]()
    for checkpoint in trained.iter_rows(named=True):
        model = checkpoint["model"]
        predictor = load_predictor(checkpoint, snapshot.fetch, deployment.cache_dir)
        chunks = [
            predictor.scores(
                [read_image(snapshot.fetch(path)) for path in part["path"]], list(part["frame_id"])
            )
            for part in judging.iter_slices(_CHUNK)
        ]
        if chunks:
            parts.append(judging_scores(model, judging, np.concatenate(chunks)))
        for set_ in _latency_sets(spec):
            timed = split_table.filter(pl.col("role") == ("train" if set_ == "out_of_fold" else set_))
            paths = timed.head(spec.evaluation.latency_frames)["path"]
            images = [read_image(snapshot.fetch(path)) for path in paths]
            latencies[model, set_] = latency_ms(predictor, images).tolist()
    return pl.concat(parts), latencies


def _latency_sets(spec: Spec) -> list[str]:
    asked = {one.set for one in spec.evaluation.acceptance if one.metric == "latency_p95_ms"}
    chooses = {"out_of_fold"} if spec.evaluation.select_by == "latency_p95_ms" else set()
    return sorted({"golden"} | asked | chooses)


def _report_checks(
    trained: pl.DataFrame, split_table: pl.DataFrame, scores: pl.DataFrame
) -> list[dg.AssetCheckResult]:
    wanted = split_table.filter(pl.col("role") != "val").select("frame_id")
    pairs = trained.select("model").join(wanted, how="cross")
    missing = pairs.join(scores, on=["model", "frame_id"], how="anti")
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


def _headlines(rows: pl.DataFrame) -> dg.TableMetadataValue:
    """The figures that people ask for first, one line per model and set."""
    shown = rows.filter(pl.col("slice") == "all", pl.col("metric").is_in(_HEADLINES))
    told = pl.format(
        "{} [{}, {}]",
        *(pl.col(name).round(3).cast(pl.String).fill_null("-") for name in ("value", "low", "high")),
    )
    wide = shown.with_columns(told=told).pivot("metric", index=["model", "set"], values="told")
    return preview(wide, rows_shown=40)


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
        figure = figure_png(scores_figure(sets, band, spec.evaluation.calibration_bins))
        pictures[f"scores of {model}"] = picture(figure, f"{model}: {band.words}")
    for set_ in rows["set"].unique(maintain_order=True):
        figure = figure_png(slices_figure(rows, set_))
        pictures[f"slices of {set_}"] = picture(figure, f"metrics by slice, {set_}")
    return pictures
