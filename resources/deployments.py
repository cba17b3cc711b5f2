"""Where this deployment keeps its things: the only reader of environment variables."""

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import dagster as dg

from resources.lake import Lake, LakeError

ROOT = Path(__file__).resolve().parent.parent

EMBEDDED_LAKE = "lake"
"""Its folder in the data folder, unless `CV_LAKE` names another."""


_OF_ONE_PROJECT: Final = ("CV_DATA", "CV_LAKE", "LAKEFS_REPOSITORY", "LAKEFS_STORAGE_NAMESPACE")
SHORTEST_SECRET: Final = 32
"""Characters of a secret that this deployment makes up itself."""

_NAME: Final = re.compile(r"""^name:[ \t]*["']?([a-z][a-z0-9_]*)["']?[ \t]*(?:#.*)?$""", re.MULTILINE)


@dataclass(frozen=True)
class Deployment:
    """One running installation: its spec, its folders and the data branch it works on."""

    spec_file: Path
    data_dir: Path
    branch: str
    dagster_url: str
    notify: str = field(default="", repr=False)  # the URLs hold passwords
    lake_dir: Path | None = None  # of the embedded lake; None: in the data folder
    approval_key: str = field(default="", repr=False)
    proxy_secret: str = field(default="", repr=False)
    graphql_url: str = ""

    @property
    def project(self) -> str:
        """The `name` of the spec, which tells this project from the others; `unnamed` while the spec says none."""
        return _name_in(self.spec_file)

    @property
    def cache_dir(self) -> Path:
        """What can be computed again: embeddings, fetched objects, converted backbones."""
        return self.data_dir / "cache"

    @property
    def embedded_lake(self) -> Path:
        """The folder of the embedded lake."""
        return self.lake_dir or self.data_dir / EMBEDDED_LAKE

    def folder(self, name: str) -> Path:
        """The folder that the spec calls `name`.

        What lies outside of the data folder is the production's: a deployment on another data branch than `main` has
        a folder of its own in its stead, inside its data folder.
        """
        folder = Path(os.path.normpath(self.data_dir / name))
        if self.branch == "main" or folder.is_relative_to(self.data_dir):
            return folder
        return self.data_dir / "elsewhere" / folder.relative_to(folder.anchor)

    def told_in(self, name: str) -> Path:
        """The folder that the spec calls `name`, where the line or people read; one in the data folder is made.

        A deployment on another data branch than `main` tells them nothing: it writes to a subfolder of its branch.
        Raises OSError when it cannot be made, FileNotFoundError for a missing one elsewhere: it may only be unmounted.
        """
        folder = self.folder(name)
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

    `CV_SPEC` is the spec file, `CV_DATA` the folder of inbox, exports and cache (default: `.data/` and the project's
    name), `CV_LAKE` that of the embedded lake (default: `lake` in `CV_DATA`), `LAKE_BRANCH` the data branch (default
    `main`), `DAGSTER_URL` the UI that commits and notices link back to, `CV_NOTIFY` the channels that notices go to:
    URLs of apprise. `CV_APPROVAL_KEY` signs approvals, `CV_PROXY_SECRET` is how the proxy proves itself to the door of
    approvals, and `CV_GRAPHQL_URL` is where the door launches runs (default: `graphql` below `DAGSTER_URL`). Raises
    ValueError for a secret that can be guessed.
    """
    lake = os.environ.get("CV_LAKE")
    spec_file = Path(os.environ.get("CV_SPEC") or ROOT / "specs" / "solar_cells.yaml").resolve()
    dagster_url = (os.environ.get("DAGSTER_URL") or "http://127.0.0.1:3000").rstrip("/")
    return Deployment(
        spec_file=spec_file,
        data_dir=data_folder(_name_in(spec_file)),
        branch=os.environ.get("LAKE_BRANCH") or "main",
        dagster_url=dagster_url,
        notify=os.environ.get("CV_NOTIFY") or "",
        lake_dir=Path(lake).resolve() if lake else None,
        approval_key=_secret("CV_APPROVAL_KEY"),
        proxy_secret=_secret("CV_PROXY_SECRET"),
        graphql_url=os.environ.get("CV_GRAPHQL_URL") or f"{dagster_url}/graphql",
    )


def data_folder(project: str) -> Path:
    """The folder of the project's inbox, exports and cache: what `CV_DATA` says, else one of its own in `.data/`."""
    return Path(os.environ.get("CV_DATA") or ROOT / ".data" / project).resolve()


def data_of_an_earlier_version(project: str) -> str:
    """What to do where an earlier version, which had one project, left its data in `.data/`; else empty."""
    data = ROOT / ".data"
    if os.environ.get("CV_DATA") or (data / project).exists() or not (data / EMBEDDED_LAKE).exists():
        return ""
    return f"Data of an earlier version lies in {data}: move it to {data / project}."


def for_one_project() -> list[str]:
    """The variables of the environment that name a place of one project alone."""
    return [name for name in _OF_ONE_PROJECT if os.environ.get(name)]


def environment(deployment: Deployment) -> dict[str, str]:
    """The variables by which a process of its own finds this deployment: what `current` reads."""
    return {
        **os.environ,
        "CV_SPEC": str(deployment.spec_file),
        "CV_DATA": str(deployment.data_dir),
        "CV_LAKE": str(deployment.embedded_lake),
        "LAKE_BRANCH": deployment.branch,
        "DAGSTER_URL": deployment.dagster_url,
        "CV_NOTIFY": deployment.notify,
    }


def lake_place(deployment: Deployment) -> str:
    """Where the lake of the deployment is: two deployments with the same answer share it."""
    if endpoint := os.environ.get("LAKEFS_ENDPOINT"):
        return f"{endpoint.rstrip('/')}/{_repository(deployment)}"
    return str(deployment.embedded_lake)


def lake_is_there(deployment: Deployment) -> bool:
    """Whether opening the lake would make none: a server is named, or the embedded lake's folder is there."""
    return bool(os.environ.get("LAKEFS_ENDPOINT")) or deployment.embedded_lake.is_dir()


def existing_lake(deployment: Deployment) -> Lake:
    """The lake for a question, which makes none. Raises LookupError where there is none."""
    if not lake_is_there(deployment):
        raise LookupError(f"There is no lake in {deployment.embedded_lake}: make it with `lake init`.")
    return open_lake(deployment)


def open_lake(deployment: Deployment) -> Lake:
    """The lakeFS repository that `LAKEFS_ENDPOINT` names, else the embedded lake.

    lakeFS needs its own key variables `LAKECTL_CREDENTIALS_ACCESS_KEY_ID` and `LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY`;
    `LAKEFS_REPOSITORY` (default: the project's name, with - for _) and, for a repository that is still to be made,
    `LAKEFS_STORAGE_NAMESPACE` may be set. Raises LakeError naming the missing variable,
    or for a project whose name cannot be that of a repository.
    """
    if endpoint := os.environ.get("LAKEFS_ENDPOINT"):
        from resources.lakefs_lake import LakeFSLake

        return LakeFSLake(
            endpoint=endpoint,
            access_key_id=_key("LAKECTL_CREDENTIALS_ACCESS_KEY_ID"),
            secret_access_key=_key("LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"),
            repository=_valid_repository(deployment),
            cache=deployment.cache_dir / "lakefs",
            storage_namespace=os.environ.get("LAKEFS_STORAGE_NAMESPACE"),
        )
    from resources.git_lake import GitLake

    return GitLake(deployment.embedded_lake)


def dagster_place() -> tuple[Path, str]:
    """`DAGSTER_HOME`, and `DAGSTER_POSTGRES_URL` when the storage is there. Raises LookupError without a home."""
    if not (home := os.environ.get("DAGSTER_HOME")):
        raise LookupError(
            "DAGSTER_HOME is not set: set it to the home of the Dagster that belongs to this lake."
        )
    return Path(home).resolve(), os.environ.get("DAGSTER_POSTGRES_URL") or ""


def lake_errors_in_words() -> AbstractContextManager[None]:
    """Around work on the lake: what its server refuses and no caller expects is a LakeError in the server's words."""
    if endpoint := os.environ.get("LAKEFS_ENDPOINT"):
        from resources.lakefs_connection import in_words

        return in_words(endpoint)
    return nullcontext()


def _repository(deployment: Deployment) -> str:
    return os.environ.get("LAKEFS_REPOSITORY") or deployment.project.replace("_", "-")


def _valid_repository(deployment: Deployment) -> str:
    name = _repository(deployment)
    if not os.environ.get("LAKEFS_REPOSITORY") and not 3 <= len(name) <= 63:
        raise LakeError(
            f"the project's name {deployment.project} has {len(name)} characters, and a lakeFS repository's has 3 to "
            "63: name a repository in LAKEFS_REPOSITORY, or give the spec another `name`"
        )
    return name


def _name_in(spec_file: Path) -> str:
    """Only the name is read: what is wrong with a spec is said where it is loaded."""
    try:
        found = _NAME.search(spec_file.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError):
        found = None
    return found[1] if found else "unnamed"


def _secret(variable: str) -> str:
    secret = os.environ.get(variable, "").strip()
    if secret and len(secret) < SHORTEST_SECRET:
        raise ValueError(
            f"{variable} has {len(secret)} characters and could be guessed: give it {SHORTEST_SECRET} or more at "
            "random, as `openssl rand -hex 32` makes them, or unset it"
        )
    return secret


def _key(variable: str) -> str:
    if not (key := os.environ.get(variable)):
        raise LakeError(
            f"{variable} is not set: set it to the key of the lakeFS that LAKEFS_ENDPOINT names, or unset that"
        )
    return key
