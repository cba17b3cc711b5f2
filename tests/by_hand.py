"""What a test does itself, in place of the steps or the person that would have."""

from collections.abc import Mapping

from resources.deployments import Deployment
from resources.lake import Content, Lake


def publish_by_hand(lake: Lake, files: Mapping[str, Content], branch: str = "main") -> None:
    """Put `files`, by lake path, on `branch` in one merge."""
    lake.create_branch("by-hand", lake.resolve(branch))
    lake.merge(lake.commit("by-hand", files, "by hand", {}), branch, "by hand", {})
    lake.delete_branch("by-hand")


def edit_spec(deployment: Deployment, old: str, new: str) -> None:
    """Put `new` in the place of `old`, which must be there, in the deployment's spec file."""
    text = deployment.spec_file.read_text("utf-8")
    assert old in text
    deployment.spec_file.write_text(text.replace(old, new, 1), "utf-8")
