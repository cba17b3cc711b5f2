"""Where this deployment keeps its things: the only reader of environment variables."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from resources.lake import Lake

ROOT = Path(__file__).resolve().parent.parent

EMBEDDED_LAKE = "lake"
"""Its folder in the data folder."""


@dataclass(frozen=True)
class Deployment:
    """One running installation: its spec, its folders and the data branch it works on."""

    spec_file: Path
    data_dir: Path
    branch: str
    dagster_url: str
    notify: str = field(default="", repr=False)  # the URLs hold passwords

    @property
    def cache_dir(self) -> Path:
        """What can be computed again: embeddings, fetched objects, converted backbones."""
        return self.data_dir / "cache"

    def told_in(self, name: str) -> Path:
        """The folder that the spec calls `name`, where the line or people read; one in the data folder is made.

        A deployment on another data branch than `main` tells them nothing: it writes to a subfolder of its branch.
        Raises OSError when it cannot be made, FileNotFoundError for a missing one elsewhere: it may only be unmounted.
        """
        folder = Path(os.path.normpath(self.data_dir / name))
        if folder.is_file():
            raise NotADirectoryError(f"{folder} is a file, expected a folder")
        if folder.is_relative_to(self.data_dir):
            folder.mkdir(parents=True, exist_ok=True)
        elif not folder.is_dir():
            raise FileNotFoundError(f"the folder {folder} is not there, perhaps unmounted")
        return folder if self.branch == "main" else folder / self.branch


@contextmanager
def writing(place: Path | str) -> Iterator[None]:
    """Around writing a file that the line or people read: what the machine refuses ends the step, in words."""
    try:
        yield
    except OSError as error:
        raise dg.Failure(
            f"{place} cannot be written now: {error}. Nothing is lost: mend it and re-execute the run from failure."
        ) from error


def current() -> Deployment:
    """The deployment that the environment describes.

    `CV_SPEC` is the spec file, `CV_DATA` the folder of inbox, exports, embedded lake and cache, `LAKE_BRANCH` the
    data branch (default `main`), `DAGSTER_URL` the UI that commits and notices link back to, `CV_NOTIFY` the channels
    that notices go to: URLs of apprise.
    """
    return Deployment(
        spec_file=Path(os.environ.get("CV_SPEC") or ROOT / "specs" / "solar_cells.yaml").resolve(),
        data_dir=Path(os.environ.get("CV_DATA") or ROOT / ".data").resolve(),
        branch=os.environ.get("LAKE_BRANCH") or "main",
        dagster_url=(os.environ.get("DAGSTER_URL") or "http://127.0.0.1:3000").rstrip("/"),
        notify=os.environ.get("CV_NOTIFY") or "",
    )


def lake_is_there(deployment: Deployment) -> bool:
    """Whether opening the lake would make none: a server is named, or the embedded lake is in the data folder."""
    return bool(os.environ.get("LAKEFS_ENDPOINT")) or (deployment.data_dir / EMBEDDED_LAKE).is_dir()


def open_lake(deployment: Deployment) -> Lake:
    """The lakeFS repository that `LAKEFS_ENDPOINT` names, else the embedded lake in the data folder.

    lakeFS needs its own key variables `LAKECTL_CREDENTIALS_ACCESS_KEY_ID` and `LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY`;
    `LAKEFS_REPOSITORY` (default `cv-assets`) and, for a repository that is still to be made,
    `LAKEFS_STORAGE_NAMESPACE` may be set. Raises KeyError naming the missing variable.
    """
    if endpoint := os.environ.get("LAKEFS_ENDPOINT"):
        from resources.lakefs_lake import LakeFSLake

        return LakeFSLake(
            endpoint=endpoint,
            access_key_id=os.environ["LAKECTL_CREDENTIALS_ACCESS_KEY_ID"],
            secret_access_key=os.environ["LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"],
            repository=os.environ.get("LAKEFS_REPOSITORY") or "cv-assets",
            cache=deployment.cache_dir / "lakefs",
            storage_namespace=os.environ.get("LAKEFS_STORAGE_NAMESPACE"),
        )
    from resources.git_lake import GitLake

    return GitLake(deployment.data_dir / EMBEDDED_LAKE)
