"""The picture of a training, for people: how it went, and how well the classes part out of fold."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from cv_assets.training.checkpoints import defect_scores, out_of_fold_auc, training_labels
from cv_assets.training.recipes import Trained, TrainingSet


def training_figure(trained: Trained, frames: TrainingSet, pass_class: int) -> Figure:
    """Left the loss by epoch, or the ROC curve of a head without epochs; right the out-of-fold scores by class."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    if len(trained.curve) > 1:
        _draw_losses(left, trained)
    else:
        _draw_roc(left, trained, frames, pass_class)
    scores = defect_scores(trained.out_of_fold.scores, pass_class)
    labels = training_labels(trained, frames)
    edges = np.linspace(0, 1, 26)
    for number, name in enumerate(frames.classes):
        right.hist(scores[labels == number], bins=edges, alpha=0.6, label=name)
    right.set(xlabel="defect score, out of fold", ylabel="frames")
    right.legend()
    return figure


def _draw_losses(axes: Axes, trained: Trained) -> None:
    epochs = [one.epoch for one in trained.curve]
    axes.plot(epochs, [one.train_loss for one in trained.curve], label="training")
    if trained.curve[0].val_loss is not None:
        axes.plot(epochs, [one.val_loss or 0.0 for one in trained.curve], label="validation")
    axes.set(xlabel="epoch", ylabel="loss (nats)")
    axes.legend()


def _draw_roc(axes: Axes, trained: Trained, frames: TrainingSet, pass_class: int) -> None:
    defective = training_labels(trained, frames) != pass_class
    false_rate, true_rate, _ = roc_curve(defective, defect_scores(trained.out_of_fold.scores, pass_class))
    axes.plot(
        false_rate, true_rate, label=f"out of fold, area {out_of_fold_auc(trained, frames, pass_class):.3f}"
    )
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey", label="chance")
    axes.set(xlabel="sound frames called defective", ylabel="defective frames found")
    axes.legend(loc="lower right")
