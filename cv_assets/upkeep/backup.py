"""A backup that is taken while publications go on, and what is made of it elsewhere.

In this order: Dagster's storage, what is remembered of deliveries, the embedded lake. Each is no older than the one
before, and the lake is asked before anybody acts on the others: what Dagster does not know yet is found done, and
nothing is remembered as done that the lake lacks. Within the lake refs are read before objects, which are written once.
A lake on lakeFS is copied by its own means: the runbook says how.
"""

import hashlib
import json
import shutil
import zlib
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cv_assets.frames.assets import inbox
from cv_assets.frames.files import return_file, write_atomically
from cv_assets.frames.inbox import Inbox
from cv_assets.labels.arrivals import TAKEN
from cv_assets.spec.load import load_spec
from cv_assets.upkeep import verification
from resources.dagster_storage import DagsterStorage
from resources.deployments import Deployment, existing_lake
from resources.git_lake import GitLake
from resources.lake import Commit, DamagedError, Lake
from resources.lake_names import MAIN
from resources.tables import Snapshot

VERIFIED: Final = "verified.json"
"""Is in a folder only while all that its lake holds was read anew and found as it was written."""

_REPLACED: Final = ("dagster", "deliveries")
"""The folders of a backup that a later one replaces as a whole."""

_PREFIX: Final = 13
"""Characters before the name of a file whose name was in use when it was put away."""

Tell = Callable[[str], None]


def back_up(deployment: Deployment, storage: DagsterStorage, folder: Path, tell: Tell) -> bool:
    """Copy everything into `folder`, in which an earlier backup may lie: then only what is new of the lake is copied.

    Until all is copied, the earlier backup stays one. Returns whether the copy of the lake is as it was written; only
    then is it called a backup.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in _REPLACED:
        shutil.rmtree(folder / f"{name}.new", ignore_errors=True)
    tell(f"Copied {storage.copy(folder / 'dagster.new')}.")
    copied = sum(_copy_folder(deployment.data_dir / "deliveries", folder / "deliveries.new"))
    tell(f"Copied the spec and what is remembered of {copied} deliveries.")
    if not deployment.embedded_lake.is_dir():
        _swap(folder, deployment)
        tell("The lake is on lakeFS: copy its database, then its object store, now (runbook: Back up).")
        return True
    tell(f"Copied {copy_lake(deployment.embedded_lake, folder / 'lake')} new files of the lake.")
    said = _sound(deployment.embedded_lake, folder / "lake", tell)
    (folder / VERIFIED).unlink(missing_ok=True)
    if said:
        _swap(folder, deployment)
        write_atomically(folder / VERIFIED, json.dumps(said).encode())
    return bool(said)


def restore(deployment: Deployment, storage: DagsterStorage, folder: Path, tell: Tell) -> bool:
    """Make the backup in `folder` this deployment's, which has no lake and no Dagster storage yet.

    Then Dagster's runs are made to agree with the lake, and files that are put away although the lake does not hold
    them are laid back into inbox and exports. Raises FileNotFoundError for a folder that is no verified backup,
    FileExistsError rather than write over anything.
    """
    lake_copy = folder / "lake"
    if lake_copy.is_dir() and not (folder / VERIFIED).is_file():
        raise FileNotFoundError(f"{folder} holds no verified backup: there is no {VERIFIED}")
    if lake_copy.is_dir() and deployment.embedded_lake.exists():
        raise FileExistsError(f"{deployment.embedded_lake} is there: move it away first")
    storage.bring_back(folder / "dagster")
    list(_copy_folder(folder / "deliveries", deployment.data_dir / "deliveries"))
    if lake_copy.is_dir():
        copy_lake(lake_copy, deployment.embedded_lake)
    return take_up(deployment, storage, tell)


def take_up(deployment: Deployment, storage: DagsterStorage, tell: Tell) -> bool:
    """Make Dagster's runs and the folders of the plant agree with the lake as it is; whether the lake is sound."""
    lake = existing_lake(deployment)
    found = verification.verify(lake, "")
    tell(verification.in_words(found))
    tell(f"{storage.settled(*_published(lake))}.")
    head, spec = Snapshot(lake, lake.resolve(deployment.branch)), load_spec(deployment.spec_file)
    box, held = inbox(deployment, spec.acquisition), set(head.partitions("raw_frames"))
    tell(f"{len(_forgotten(box, held))} deliveries that the lake does not hold were forgotten.")
    exports, taken = deployment.folder(spec.labels.exports), set(head.partitions("annotations"))
    returned = sum(_laid_back(box, held)) + sum(_exports_laid_back(exports, taken))
    tell(f"{returned} files that the lake does not hold were laid back.")
    return found.problems.is_empty()


def copy_lake(source: Path, target: Path) -> int:
    """Copy the embedded lake at `source`, of which what `target` has already is left out; how many files were new."""
    git = Path("repo.git")
    refs = {file: (source / file).read_bytes() for file in _files(source, git / "refs")}
    others = [file for file in _files(source, git) if file not in refs]
    new = sum(_copy_file(source / file, target / file) for file in others)
    for stale in set(_files(target, git / "refs")) - set(refs):
        (target / stale).unlink()
    for file, content in refs.items():
        write_atomically(target / file, content)
    # Git takes a folder for a repository only if they are there.
    for empty in ("refs/heads", "refs/tags", "objects", "lfs/objects"):
        (target / git / empty).mkdir(parents=True, exist_ok=True)
    return new


def _files(root: Path, folder: Path) -> Iterator[Path]:
    """The finished files below, from `root`."""
    for file in sorted((root / folder).rglob("*")):
        if file.is_file() and not _is_unfinished(file.relative_to(root)):
            yield file.relative_to(root)


def _is_unfinished(file: Path) -> bool:
    if "refs" in file.parts[:2]:
        # A branch may have almost any name; none begins with a dot or ends so.
        return file.suffix == ".lock" or file.name.startswith(".")
    return file.suffix == ".lock" or file.name.startswith("tmp_") or "tmp" in file.parts[-2:-1]


def _copy_file(source: Path, target: Path) -> bool:
    """Whether it was copied: not when it is there, and not when it was let go of meanwhile."""
    if target.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"tmp_{target.name}")
    try:
        shutil.copy2(source, unfinished)
    except FileNotFoundError:
        return False
    unfinished.replace(target)
    return True


def _copy_folder(source: Path, target: Path) -> Iterator[bool]:
    """Files of the folder itself first: a manifest goes from there into a folder below."""
    target.mkdir(parents=True, exist_ok=True)
    # The folder below is listed only once these are copied: a manifest that went there meanwhile is found there.
    for pattern in ("*", "*/*"):
        for file in sorted(source.glob(pattern)):
            if file.is_file() and file.suffix != ".lock" and not file.name.startswith("."):
                yield _copy_file(file, target / file.relative_to(source))


def _swap(folder: Path, deployment: Deployment) -> None:
    for name in _REPLACED:
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / f"{name}.new").rename(folder / name)
    shutil.copyfile(deployment.spec_file, folder / "spec.yaml")


def _sound(source: Path, copy: Path, tell: Tell) -> dict[str, object]:
    """What is said of a copy that is as it was written; empty when it is not, also once what rotted is copied again."""
    said = _verified(copy, lambda _: None)
    if not said and (damaged := [file for file in _objects(copy) if not _is_as_named(file)]):
        for file in damaged:
            file.unlink()
        tell(f"{len(damaged)} damaged files of the copy are copied again.")
        copy_lake(source, copy)
    return said or _verified(copy, tell)


def _verified(copy: Path, tell: Tell) -> dict[str, object]:
    lake = GitLake(copy)
    try:
        found = verification.verify(lake, "")
    except DamagedError as error:
        tell(f"{error}.")
        return {}
    for problem in found.problems.iter_rows(named=True):
        tell(verification.told(problem))
    tell(verification.in_words(found))
    if not found.problems.is_empty():
        return {}
    at = datetime.now(UTC).isoformat()
    return {"verified_at": at, "main": lake.resolve(MAIN), "objects": found.objects}


def _objects(lake: Path) -> list[Path]:
    """The files of a lake that are named by what they hold."""
    git = lake / "repo.git"
    return [*git.glob("objects/??/*"), *git.glob("lfs/objects/??/??/*")]


def _is_as_named(file: Path) -> bool:
    if len(file.name) == hashlib.sha256().digest_size * 2:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.name
    try:
        content = zlib.decompress(file.read_bytes())
    except zlib.error:
        return False
    return hashlib.sha1(content, usedforsecurity=False).hexdigest() == file.parent.name + file.name


def _published(lake: Lake) -> tuple[datetime, set[str]]:
    """When the newest publication was made, and the runs that made any."""
    seen: dict[str, Commit] = {}
    for head in (lake.resolve(MAIN), *lake.branches().values()):
        for commit in lake.log(head):
            if commit.id in seen:
                break
            seen[commit.id] = commit
    runs = {commit.metadata["run_id"] for commit in seen.values() if "run_id" in commit.metadata}
    return max(commit.created_at for commit in seen.values()), runs


def _forgotten(box: Inbox, held: Collection[str]) -> list[str]:
    """The finished deliveries that the lake lacks, which are put aside with what the last look remembered of them."""
    lacking = [key for key in box.keys_received() if key not in held]
    for key in lacking:
        box.forget(key)
    if lacking:
        box.memory.unlink(missing_ok=True)
    return lacking


def _laid_back(box: Inbox, held: Collection[str]) -> Iterator[bool]:
    """But for those that a delivery under way claims: its run reads them where they lie."""
    under_way = {one.key: one.files for one in box.under_way()}
    for folder in box.taken.glob("*"):
        if folder.name in held or not folder.is_dir():
            continue
        for file in sorted(folder.iterdir()):
            if file.name not in under_way.get(folder.name, ()):
                yield return_file(file, box.folder / _own_name(box, file))


def _own_name(box: Inbox, file: Path) -> str:
    """The name that the file had in the inbox."""
    name, claimed = file.name[_PREFIX:], box.claimed(file.parent.name)
    return name if name in claimed and file.name not in claimed else file.name


def _exports_laid_back(exports: Path, taken: Collection[str]) -> Iterator[bool]:
    for file in (exports / TAKEN).glob("*"):
        if file.stem not in taken:
            yield return_file(file, exports / file.name)
