"""Contract of the training step. A score vector has one probability per class, in the order of `classes`."""

import dataframely as dy


class Checkpoint(dy.Schema):
    """One trained model: its weights, how it was made and what it said of frames it was not trained on."""

    model = dy.String(primary_key=True, description="The model's name in the spec.")
    candidate = dy.String(description="The candidate that it was trained for.")
    architecture = dy.String(description="The timm model that it is.")
    weights = dy.String(description="Where its head is in the lake, as safetensors.")
    weights_sha256 = dy.String(
        regex="^[0-9a-f]{64}$", description="sha256 of the head's file, 64 hexadecimal digits."
    )
    backbone = dy.String(
        description="Where its backbone is in the lake, as safetensors named by their hash. Head and backbone are "
        "everything that inference needs."
    )
    backbone_sha256 = dy.String(
        regex="^[0-9a-f]{64}$", description="Hash of the pretrained weights that the backbone started from."
    )
    classes = dy.List(dy.String(), description="The classes, in the order of every score vector.")
    preparation = dy.String(description="Digest of the pass that its frames went through.")
    recipe = dy.String(description="The spec's model section, as JSON.")
    seed = dy.Int64(
        description="The spec's seed: the same seed and frames give the same model again on a CPU."
    )
    frames = dy.Int64(min=1, description="How many frames trained it.")
    groups = dy.Int64(min=1, description="How many groups these frames come from.")
    curve = dy.List(
        dy.Struct({"epoch": dy.Int64(), "train_loss": dy.Float64(), "val_loss": dy.Float64(nullable=True)}),
        description="Mean cross-entropy by epoch, in nats. A logistic head has one point, its last iteration, with the "
        "loss of the validation frames, or the out-of-fold loss where there are none.",
    )
    out_of_fold = dy.List(
        dy.Struct({"frame_id": dy.String(), "fold": dy.Int64(), "scores": dy.List(dy.Float64())}),
        description="Probabilities (0 to 1, one per class) of training frames by models that never saw their group; "
        "folds count from 0.",
    )
    libraries = dy.String(
        description="Versions of the libraries that features and weights depend on, as JSON."
    )
    seconds = dy.Float64(metadata={"volatile": True}, description="Wall time of the training, in seconds.")
