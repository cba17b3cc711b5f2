"""How a project's things are called in a Dagster that holds other projects too: its assets, partitions and runs.

A process serves one project, the one whose spec file the environment names.
"""

from collections.abc import Iterable
from types import ModuleType
from typing import Final

import dagster as dg

from resources.deployments import current

PROJECT: Final = current().project
"""The `name` of the spec: also that of the code location. Another name is another project."""

OURS: Final = {"project": PROJECT}
"""The tag of every run of the project's jobs, whoever launched it."""

deliveries = dg.DynamicPartitionsDefinition(name=f"{PROJECT}_deliveries")
exports = dg.DynamicPartitionsDefinition(name=f"{PROJECT}_exports")
candidates = dg.DynamicPartitionsDefinition(name=f"{PROJECT}_candidates")
"""The three things that keep arriving: deliveries of frames, label exports and candidates."""


def asset_key(name: str) -> dg.AssetKey:
    """The key by which Dagster knows the project's asset of this name; the lake knows it by its name alone."""
    return dg.AssetKey([PROJECT, name])


def in_project(assets: Iterable[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """These assets under the project's keys; what they need of one another, and their checks, follow."""
    together = ModuleType("together")
    vars(together)["assets"] = list(assets)
    loaded = dg.load_assets_from_modules([together], key_prefix=PROJECT)
    return [asset for asset in loaded if isinstance(asset, dg.AssetsDefinition)]
