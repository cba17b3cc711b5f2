"""What a finished run says: its checks, its metadata, its failure."""

from typing import Any

import dagster as dg


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """The answer of each check, by name."""
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


def passed(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """Which check passed, by name."""
    return {name: one.passed for name, one in checks(result).items()}


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """The metadata of the asset's one materialization, as plain values."""
    (materialization,) = result.asset_materializations_for_node(asset)
    return {key: value.value for key, value in materialization.metadata.items()}


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the run's first failed step said."""
    event = next(event for event in result.all_events if event.event_type_value == "STEP_FAILURE")
    return str(event.event_specific_data.error.to_string())
