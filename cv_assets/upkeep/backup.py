"""A backup that is taken while publications go on, and what is made of it elsewhere.

In this order: Dagster's storage, what is remembered of deliveries, the embedded lake. Each is no older than the one
before, and the lake is asked before anybody acts on the others: what Dagster does not know yet is found done, and
nothing is remembered as done that the lake lacks. Within the lake refs are read before objects, which are written once.
A lake on lakeFS is copied by its own means: the runbook says how.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cv_assets.frames.assets import inbox
from cv_assets.frames.files import return_file, write_atomically
from cv_assets.labels.arrivals import TAKEN
from cv_assets.spec.load import load_spec
from cv_assets.upkeep import verification
from resources.dagster_storage import DagsterStorage
from resources.deployments import Deployment, existing_lake
from resources.git_lake import GitLake
from resources.lake import Lake
from resources.lake_names import MAIN
from resources.tables import Snapshot

VERIFIED: Final = "verified.json"
"""Is in a folder only while all that its lake holds was read anew and found as it was written."""

Tell = Callable[[str], None]


def back_up(deployment: Deployment, storage: DagsterStorage, folder: Path, tell: Tell) -> bool:
    """Copy everything into `folder`, in which an earlier backup may lie: then only what is new of the lake is copied.

    Returns whether the copy of the lake is as it was written; only then is it called a backup.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / VERIFIED).unlink(missing_ok=True)
    for stale in ("dagster", "deliveries"):
        shutil.rmtree(folder / stale, ignore_errors=True)
    tell(f"Copied {storage.copy(folder / 'dagster')}.")
    copied = sum(_copy_folder(deployment.data_dir / "deliveries", folder / "deliveries"))
    shutil.copyfile(deployment.spec_file, folder / "spec.yaml")
    tell(f"Copied the spec and what is remembered of {copied} deliveries.")
    if not deployment.embedded_lake.is_dir():
        tell("The lake is on lakeFS: copy its database, then its object store, now (runbook: Back up).")
        return True
    tell(f"Copied {copy_lake(deployment.embedded_lake, folder / 'lake')} new files of the lake.")
    return _is_sound(folder, tell)


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
    tell(f"{storage.settled(_newest(lake))}.")
    tell(f"{sum(_laid_back(deployment, lake))} files that the lake does not hold were laid back.")
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
        unfinished = file.suffix == ".lock" or file.name.startswith("tmp_") or "tmp" in file.parts[-2:-1]
        if file.is_file() and not unfinished:
            yield file.relative_to(root)


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
    here = [file for file in source.glob("*") if file.is_file() and file.suffix != ".lock"]
    for file in [*here, *source.glob("*/*")]:
        yield _copy_file(file, target / file.relative_to(source))


def _is_sound(folder: Path, tell: Tell) -> bool:
    lake = GitLake(folder / "lake")
    found = verification.verify(lake, "")
    for problem in found.problems.iter_rows(named=True):
        tell(verification.told(problem))
    tell(verification.in_words(found))
    if found.problems.is_empty():
        said = {
            "verified_at": datetime.now(UTC).isoformat(),
            "main": lake.resolve(MAIN),
            "objects": found.objects,
        }
        write_atomically(folder / VERIFIED, json.dumps(said).encode())
    return found.problems.is_empty()


def _newest(lake: Lake) -> datetime:
    heads = [lake.resolve(MAIN), *lake.branches().values()]
    return max(next(lake.log(head)).created_at for head in heads)


def _laid_back(deployment: Deployment, lake: Lake) -> Iterator[bool]:
    head, spec = Snapshot(lake, lake.resolve(deployment.branch)), load_spec(deployment.spec_file)
    box, known = inbox(deployment, spec.acquisition), set(head.partitions("raw_frames"))
    for folder in box.taken.glob("*"):
        if folder.name not in known:
            yield from (return_file(file, box.folder / file.name) for file in folder.iterdir())
    exports, taken = deployment.folder(spec.labels.exports), set(head.partitions("annotations"))
    for file in (exports / TAKEN).glob("*"):
        if file.stem not in taken:
            yield return_file(file, exports / file.name)
