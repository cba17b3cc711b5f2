"""Model architectures: whether timm has them. Heavy to import; nothing that loads definitions does."""

import timm

from cv_assets.spec.mistakes import did_you_mean
from cv_assets.spec.schema import Model, Spec


def check_architectures(spec: Spec) -> list[str]:
    """One sentence for every model of `spec` that timm cannot build as asked; empty when all are known."""
    answers = (
        _why_not(f"training.models[{number}].architecture", model)
        for number, model in enumerate(spec.training.models)
    )
    return [answer for answer in answers if answer]


def _why_not(key: str, model: Model) -> str:
    name = model.architecture
    if not timm.is_model(name):
        architecture = name.split(".")[0]
        suggestion = did_you_mean(architecture, timm.list_models()) or "timm.list_models() names them all"
        return f"{key}: got {name!r}, expected a model that timm {timm.__version__} knows; {suggestion}"
    if model.weights.source == "hub" and not timm.is_model_pretrained(name):
        known = [one for one in timm.list_pretrained() if one.split(".")[0] == name.split(".")[0]]
        expected = ", ".join(known) or "another `weights.source`, for it has none"
        return f"{key}: timm's hub has no pretrained weights {name!r}, expected {expected}"
    return ""
