"""Checkpoints: a trained model as one row of the table and the files it points to, and what is asked of it.

Shapes: n training frames, C classes in the order of the spec.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from cv_assets.spec.training import Model, Training
from cv_assets.splits.roles import picture_of
from cv_assets.training.backbones import restore_backbone
from cv_assets.training.features import to_input, versions
from cv_assets.training.graphs import FeatureNet
from cv_assets.training.heads import Labels
from cv_assets.training.inference import load_predictor, pooling
from cv_assets.training.recipes import Trained, TrainingSet
from cv_assets.training.schema import Checkpoint

TOLERANCE: Final = 1e-4
"""The largest difference of a probability between the trained model and the one made of its stored bytes."""

_REPRODUCED: Final = 8


def checkpoint_files(model: Model, candidate: str, trained: Trained) -> dict[str, bytes]:
    """Lake path -> bytes of the head and of the backbone, each named by its hash.

    Candidates that share a frozen backbone share its path, so a lake stores it once.
    """
    head_sha256 = hashlib.sha256(trained.head_bytes).hexdigest()
    return {
        f"{model.name}_checkpoint/{candidate}/{head_sha256}.safetensors": trained.head_bytes,
        f"{model.name}_checkpoint/backbones/{trained.backbone_file_sha256}.safetensors": trained.backbone_bytes,
    }


def checkpoint_row(
    model: Model, settings: Training, candidate: str, frames: TrainingSet, trained: Trained
) -> pl.DataFrame:
    """The one row of a checkpoint table."""
    head_path, backbone_path = checkpoint_files(model, candidate, trained)
    row: dict[str, Any] = {
        "model": model.name,
        "candidate": candidate,
        "architecture": model.architecture,
        "weights": head_path,
        "weights_sha256": Path(head_path).stem,
        "backbone": backbone_path,
        "backbone_sha256": trained.backbone.source_sha256,
        "classes": list(frames.classes),
        "preparation": frames.preparation,
        "recipe": json.dumps(model.model_dump(mode="json"), sort_keys=True),
        "seed": settings.seed,
        "frames": len(trained.trained_on),
        "groups": len({frames.groups[index] for index in trained.trained_on}),
        "curve": [vars(epoch) for epoch in trained.curve],
        "out_of_fold": [
            {"frame_id": frames.frame_ids[index], "fold": int(fold), "scores": scores.tolist()}
            for index, fold, scores in zip(
                trained.trained_on, trained.out_of_fold.fold, trained.out_of_fold.scores, strict=True
            )
        ],
        "libraries": json.dumps(versions(), sort_keys=True),
        "seconds": trained.seconds,
    }
    return pl.DataFrame([row], schema=dict(Checkpoint.create_empty().schema))


def reproduction_error(
    row: Mapping[str, Any], files: Mapping[str, bytes], frames: TrainingSet, trained: Trained, cache_dir: Path
) -> float:
    """The largest difference of a probability between the model in memory and the one made of its stored bytes.

    It is measured on a few training frames. Infinite when a stored tensor of the backbone differs at all.
    """
    chosen = trained.trained_on[np.linspace(0, len(trained.trained_on) - 1, _REPRODUCED).astype(int)]
    images = [frames.image(index) for index in chosen]
    with tempfile.TemporaryDirectory() as folder:

        def fetch(path: str) -> Path:
            file = Path(folder) / Path(path).name
            file.write_bytes(files[path])
            return file

        predictor = load_predictor(row, fetch, cache_dir)
        again_nC = np.stack([predictor.score(image) for image in images])
        stored = restore_backbone(row["architecture"], predictor.model.input_size, fetch(row["backbone"]))
    kept, found = trained.backbone.module.state_dict(), stored.module.state_dict()
    if any(not torch.equal(found[name], tensor) for name, tensor in kept.items()):
        return float("inf")
    net = FeatureNet(trained.backbone.module, *pooling(predictor.model)).eval()
    small = [to_input(image, trained.backbone.input_size) for image in images]
    with torch.inference_mode():
        features_nD = net(torch.from_numpy(np.stack(small))).numpy()
    return float(np.abs(trained.head.scores(features_nD) - again_nC).max())


def defect_scores(scores_NC: NDArray[np.float64], pass_class: int) -> NDArray[np.float64]:
    """The probability (N,) that a part is defective: that it is of any class but the one that passes."""
    return 1 - scores_NC[:, pass_class]


def out_of_fold_auc(trained: Trained, frames: TrainingSet, pass_class: int) -> float:
    """Area under the ROC curve of the out-of-fold defect scores; 0.5 is chance."""
    labels_n = training_labels(trained, frames)
    return float(roc_auc_score(labels_n != pass_class, defect_scores(trained.out_of_fold.scores, pass_class)))


def training_labels(trained: Trained, frames: TrainingSet) -> Labels:
    """The labels (n,) of the frames that out-of-fold scores are for, in their order."""
    return frames.labels[trained.trained_on]


def confidently_wrong(trained: Trained, frames: TrainingSet, count: int) -> pl.DataFrame:
    """The out-of-fold frames that another class was most sure of, at most `count`: often a wrong label.

    Columns: index (into `frames`), label, said, probability.
    """
    scores_nC, labels_n = trained.out_of_fold.scores, training_labels(trained, frames)
    said_n = scores_nC.argmax(axis=1)
    classes = np.array(frames.classes)
    every = pl.DataFrame(
        {
            "index": trained.trained_on,
            "label": classes[labels_n],
            "said": classes[said_n],
            "probability": scores_nC.max(axis=1),
        }
    )
    wrong = every.filter(pl.col("label") != pl.col("said"))
    return wrong.sort("probability", "index", descending=[True, False]).head(count)


def leaked_frames(frames: TrainingSet, split_table: pl.DataFrame) -> pl.DataFrame:
    """Rows of the split that judge (test, golden, challenge) and whose frame or picture was seen in training."""
    trained = pl.DataFrame({"path": list(frames.paths)}, schema={"path": pl.String})
    judges = pl.col("role").is_in(["test", "golden", "challenge"])
    seen = pl.col("frame_id").is_in(list(frames.frame_ids)) | picture_of("path").is_in(
        trained.select(picture_of("path")).to_series().implode()
    )
    return split_table.filter(judges & seen).select("frame_id", "role", "group", "path")
