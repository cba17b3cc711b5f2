"""Contract of the training step. A score vector has one probability per class, in the order of `classes`."""

import dataframely as dy


class Checkpoint(dy.Schema):
    """One trained model: its weights, how it was made and what it said of frames it was not trained on."""

    model = dy.String(primary_key=True)
    candidate = dy.String()
    architecture = dy.String()
    weights = dy.String(description="Where its head is in the lake, as safetensors.")
    weights_sha256 = dy.String(regex="^[0-9a-f]{64}$")
    backbone = dy.String(
        description="Where its backbone is in the lake, as safetensors named by their hash. Head and backbone are "
        "everything that inference needs."
    )
    backbone_sha256 = dy.String(
        regex="^[0-9a-f]{64}$", description="Hash of the pretrained weights that the backbone started from."
    )
    classes = dy.List(dy.String())
    preparation = dy.String(description="Digest of the pass that its frames went through.")
    recipe = dy.String(description="The spec's model section, as JSON.")
    seed = dy.Int64()
    frames = dy.Int64(min=1, description="How many frames trained it.")
    groups = dy.Int64(min=1)
    curve = dy.List(
        dy.Struct({"epoch": dy.Int64(), "train_loss": dy.Float64(), "val_loss": dy.Float64(nullable=True)}),
        description="Loss by epoch. A logistic head has one point, its last iteration, with the loss of the validation "
        "frames, or the out-of-fold loss where there are none.",
    )
    out_of_fold = dy.List(
        dy.Struct({"frame_id": dy.String(), "fold": dy.Int64(), "scores": dy.List(dy.Float64())}),
        description="Scores of training frames by models that never saw their group.",
    )
    libraries = dy.String(
        description="Versions of the libraries that features and weights depend on, as JSON."
    )
    seconds = dy.Float64(metadata={"volatile": True}, description="Wall time of the training.")
