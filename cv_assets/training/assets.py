"""Assets of the training step: one checkpoint per model of the spec."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import dagster as dg
import polars as pl

from cv_assets.spec.assets import in_force
from cv_assets.spec.schema import Spec
from cv_assets.spec.training import FrozenRecipe, Model
from cv_assets.training.schema import Checkpoint
from resources.contracts import Audited, Check, TableAsset
from resources.deployments import Deployment
from resources.partitions import candidates
from resources.pictures import figure_png, montage, picture
from resources.tables import Tables

if TYPE_CHECKING:
    from cv_assets.training.recipes import Trained, TrainingSet

REPRODUCES: Final = Check(
    "stored_weights_reproduce_scores",
    "Does the model made of the stored bytes say what the trained model says?",
)
OUT_OF_FOLD: Final = Check(
    "out_of_fold_is_complete",
    "Has every training frame a score by a model that never saw its group?",
)
NO_LEAK: Final = Check(
    "no_judging_frame_trained",
    "Is no test, golden or challenge frame, nor its picture, among those that trained?",
)
LEARNED: Final = Check(
    "training_converged", "Did the optimiser come to an end and the loss fall?", blocking=False
)

_SHOWN: Final = 12


def checkpoints(spec: Spec) -> list[dg.AssetsDefinition]:
    """One checkpoint asset per model of the spec."""
    return [checkpoint_asset(model) for model in spec.training.models]


def checkpoint_asset(model: Model) -> dg.AssetsDefinition:
    """The asset `<name>_checkpoint`."""
    table = TableAsset(
        f"{model.name}_checkpoint",
        Checkpoint,
        step="training",
        kinds=frozenset({"pytorch", "timm"}),
        partitions=candidates,
        on_candidate=True,
        checks=(REPRODUCES, OUT_OF_FOLD, NO_LEAK, LEARNED),
        pool="training",
    )

    def checkpoint(
        context: dg.AssetExecutionContext,
        project_spec: pl.DataFrame,
        split_table: pl.DataFrame,
        tables: dg.ResourceParam[Tables],
        deployment: dg.ResourceParam[Deployment],
    ) -> Audited:
        from cv_assets.training import checkpoints as stored
        from cv_assets.training.recipes import train, training_set

        spec = in_force(project_spec, deployment)
        settings = next(one for one in spec.training.models if one.name == model.name)
        try:
            frames = training_set(split_table, spec.class_names, tables.snapshot(context).fetch)
            trained = train(
                settings, spec.training, frames, cache_dir=deployment.cache_dir, say=context.log.info
            )
        except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
            # The same frames and settings would fail again.
            raise dg.Failure(f"{table.name}: {error}", allow_retries=False) from error
        files = stored.checkpoint_files(settings, context.partition_key, trained)
        rows = stored.checkpoint_row(settings, spec.training, context.partition_key, frames, trained)
        difference = stored.reproduction_error(
            rows.row(0, named=True), files, frames, trained, deployment.cache_dir
        )
        checks = [
            _reproduces(difference, stored.TOLERANCE),
            _out_of_fold(trained, frames),
            NO_LEAK.no_rows(stored.leaked_frames(frames, split_table)),
            LEARNED.result(trained.converged, trained.remark),
        ]
        yield from table.audited(rows, files=files, checks=checks, metadata=_metadata(trained, frames, spec))

    definition: dg.AssetsDefinition = dg.asset(**table.arguments, description=_description(model))(checkpoint)
    return definition


def _description(model: Model) -> str:
    """What the asset is, for people who read it in the UI."""
    if isinstance(model.recipe, FrozenRecipe):
        how = "its backbone stays as it was pretrained, and a logistic head learns to read its features"
        loss = "the loss it ended with"
    else:
        how = f"all its weights are trained, for up to {model.recipe.epochs} epochs"
        loss = "its loss by epoch"
    return (
        f"The candidate's model `{model.name}`: a timm `{model.architecture}` at {model.input_size} px; {how}. "
        f"One row: where its weights are (safetensors), how it was made, {loss}, and what it says of each "
        "training frame when that frame's group is left out, from which thresholds are chosen."
    )


def _reproduces(difference: float, tolerance: float) -> dg.AssetCheckResult:
    return REPRODUCES.result(
        difference <= tolerance,
        f"On a few training frames the probabilities differ by at most {difference:.1e}; {tolerance:.0e} is allowed.",
        {"largest_difference": difference},
    )


def _out_of_fold(trained: "Trained", frames: "TrainingSet") -> dg.AssetCheckResult:
    groups = [frames.groups[index] for index in trained.trained_on]
    missing, leaks = trained.out_of_fold.missing(), trained.out_of_fold.leaks(groups)
    return OUT_OF_FOLD.result(
        not missing and not leaks,
        f"{len(groups)} training frames of {len(set(groups))} groups in {len(trained.out_of_fold.seen_groups)} folds: "
        f"{len(missing)} have no score, {len(leaks)} were scored by a model that saw their group.",
        {"missing": len(missing), "leaked": len(leaks)},
    )


def _metadata(trained: "Trained", frames: "TrainingSet", spec: Spec) -> Mapping[str, Any]:
    from cv_assets.training.checkpoints import confidently_wrong, out_of_fold_auc
    from cv_assets.training.figures import training_figure

    pass_class = spec.class_names.index(spec.pass_class)
    figure = figure_png(training_figure(trained, frames, pass_class))
    return {
        "out_of_fold_roc_auc": out_of_fold_auc(trained, frames, pass_class),
        "seconds": round(trained.seconds, 2),
        "figure": picture(figure, "loss or ROC curve, and out-of-fold scores"),
        **{name.replace(" ", "_"): value for name, value in trained.costs.items()},
        **_mistakes(confidently_wrong(trained, frames, _SHOWN).rows(named=True), frames),
    }


def _mistakes(rows: Sequence[Mapping[str, Any]], frames: "TrainingSet") -> Mapping[str, Any]:
    if not rows:
        return {}
    captions = [f"{row['label']}, said {row['said']} {row['probability']:.2f}" for row in rows]
    sheet = montage([frames.image(row["index"]) for row in rows], captions)
    return {"confidently_wrong_out_of_fold": picture(sheet, "most confident mistakes")}
