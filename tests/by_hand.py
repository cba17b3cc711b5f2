"""What a test puts into a lake itself, in place of the steps that would have."""

from collections.abc import Mapping

from resources.lake import Content, Lake


def publish_by_hand(lake: Lake, files: Mapping[str, Content], branch: str = "main") -> None:
    """Put `files`, by lake path, on `branch` in one merge."""
    lake.create_branch("by-hand", lake.resolve(branch))
    lake.merge(lake.commit("by-hand", files, "by hand", {}), branch, "by hand", {})
    lake.delete_branch("by-hand")
