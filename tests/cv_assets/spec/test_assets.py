"""The published spec, and steps that refuse to work by another one."""

import re

import dagster as dg
import pytest
from by_hand import edit_spec
from run_results import checks, metadata

from cv_assets.spec.architectures import check_architectures
from cv_assets.spec.assets import in_force, project_spec
from cv_assets.spec.load import digest, from_table, parse_spec, to_table


def test_the_published_table_is_the_file_and_people_can_read_it(materialize, tables, deployment, spec):
    result = materialize([project_spec])
    rows = tables.head().table("project_spec")
    assert from_table(rows) == spec
    assert in_force(rows, deployment) == spec
    assert all(check.passed for check in checks(result).values())
    shown = metadata(result, "project_spec")
    assert deployment.spec_file.read_text() in shown["spec"]
    assert shown["digest"] == digest(spec)
    assert shown["changed"] == "everything: first publication"
    assert "m07c012" in str(shown["file names"])
    edit_spec(deployment, "seed: 0", "seed: 1")
    assert metadata(materialize([project_spec]), "project_spec")["changed"] == "training"


def test_a_file_that_differs_from_the_table_stops_a_step_with_one_message(deployment, spec):
    edit_spec(deployment, "seed: 0", "seed: 1")
    edit_spec(deployment, "approvers: [quality.lead]", "approvers: [somebody]")
    with pytest.raises(dg.Failure) as caught:
        in_force(to_table(spec), deployment)
    assert caught.value.description == (
        "spec.yaml and the published project_spec differ in: training, release. "
        "Materialize project_spec to put the file in force, or restore the file. A candidate keeps the spec of its "
        "request: after a change, request a new one."
    )
    assert not caught.value.allow_retries


def test_a_file_with_mistakes_stops_a_step_with_one_message(deployment, spec):
    edit_spec(deployment, "folds: 6", "folds: 1")
    with pytest.raises(dg.Failure, match=r"spec\.yaml:\d+: training\.folds: got 1, expected at least 2"):
        in_force(to_table(spec), deployment)


def test_a_spec_with_mistakes_is_not_published(materialize, tables, deployment):
    edit_spec(deployment, "folds: 6", "folds: 1")
    assert not materialize([project_spec], raise_on_error=False).success
    assert not tables.head().has("project_spec")


def test_a_model_that_timm_does_not_know_is_not_published(materialize, tables, deployment):
    edit_spec(deployment, "source: package\n        name: efficientnet_lite0\n", "source: hub\n")
    edit_spec(deployment, "tf_efficientnet_lite0", "tf_eficientnet_lite0")
    result = materialize([project_spec], raise_on_error=False)
    told = checks(result)["architectures_are_known"].description
    assert "training.models[0].architecture: got 'tf_eficientnet_lite0'" in told
    assert "did you mean `tf_efficientnet_lite0`?" in told
    assert not tables.head().has("project_spec")


def test_a_spec_without_example_file_names_is_published_with_a_warning(materialize, tables, deployment):
    edit_spec(deployment, "  examples: [line1_cam1_20260302T081530_mono_m07of60_m07c012.png]\n", "")
    result = materialize([project_spec])
    assert not checks(result)["examples_show_the_pattern"].passed
    assert tables.head().has("project_spec")


def test_weights_from_the_hub_must_be_there(deployment):
    text = deployment.spec_file.read_text()
    source = "source: package\n        name: efficientnet_lite0\n"
    hub = text.replace(source, "source: hub\n").replace("tf_efficientnet_lite0", "resnet18.nope")
    (told,) = check_architectures(parse_spec(hub, "spec.yaml"))
    assert "training.models[0].architecture" in told
    assert "resnet18.a1_in1k" in told


def test_weights_that_are_only_to_be_had_as_a_pickle_are_not_on_the_hub(deployment):
    text = deployment.spec_file.read_text()
    source = "source: package\n        name: efficientnet_lite0\n"
    hub = text.replace(source, "source: hub\n").replace("tf_efficientnet_lite0", "gcvit_xxtiny.in1k")
    (told,) = check_architectures(parse_spec(hub, "spec.yaml"))
    assert told.endswith(
        "timm's hub has no pretrained weights 'gcvit_xxtiny.in1k' as safetensors, expected another "
        "`weights.source`, for it has none"
    )


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "input_size: 112",
            "input_size: 120",
            "training.models[1].input_size: got 120, expected a multiple of 14, the patch size of "
            "vit_small_patch14_dinov2: 112 or 126",
        ),
        (
            "blocks: [2, 4, 6]",
            "blocks: [2, 7]",
            "training.models[0].recipe.blocks: got [2, 7], tf_efficientnet_lite0 has blocks from 0 to 6",
        ),
        (
            "blocks: [4]",
            "blocks: [9]",
            "drift.novelty.blocks: got [9], tf_efficientnet_lite0 has blocks from 0 to 6",
        ),
    ],
)
def test_sizes_and_blocks_that_an_architecture_does_not_have_are_told(old, new, told, deployment):
    text = deployment.spec_file.read_text()
    assert old in text
    assert check_architectures(parse_spec(text, "spec.yaml")) == []
    assert check_architectures(parse_spec(text.replace(old, new), "spec.yaml")) == [told]


def other_architecture(text, name):
    """The spec with the architecture `name` as its first model."""
    source = "source: package\n        name: efficientnet_lite0\n        sha256: [0-9a-f]+\n"
    return parse_spec(
        re.sub(source, "source: random\n", text).replace("tf_efficientnet_lite0", name), "spec.yaml"
    )


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny", "swin_tiny_patch4_window7_224"])
def test_blocks_are_counted_in_other_families_too(name, deployment):
    assert check_architectures(other_architecture(deployment.spec_file.read_text(), name)) == [
        f"training.models[0].recipe.blocks: got [2, 4, 6], {name} has blocks from 0 to 3",
        f"drift.novelty.blocks: got [4], {name} has blocks from 0 to 3",
    ]


def test_an_architecture_with_an_unknown_tag_is_told(deployment):
    (told,) = check_architectures(other_architecture(deployment.spec_file.read_text(), "resnet18.nope"))
    assert told.startswith("training.models[0].architecture: got 'resnet18.nope', timm cannot build it: ")


@pytest.mark.parametrize("name", ["hf-hub:someone/model", "local-dir:/tmp/model", "../../model"])
def test_an_architecture_that_would_come_from_elsewhere_is_one_that_timm_does_not_know(name, deployment):
    (told,) = check_architectures(other_architecture(deployment.spec_file.read_text(), name))
    assert told.startswith(f"training.models[0].architecture: got {name!r}, expected a model that timm ")
    assert told.endswith("timm.list_models() names them all")
