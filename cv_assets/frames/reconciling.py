"""What no look at the inbox comes upon: files that nothing accounts for, and manifests without what they speak of.

A look compares the inbox with what is under way. Here all of `taken/` and all finished deliveries are gone through, and
nothing has to be locked: what moves meanwhile is found where it was or where it is.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import polars as pl

from cv_assets.frames.captures import file_time
from cv_assets.frames.deliveries import is_takeable
from cv_assets.frames.files import identity_of, read_unchanged, return_file
from cv_assets.frames.inbox import Inbox
from cv_assets.frames.schema import InboxReconciliation
from cv_assets.spec.acquisition import Acquisition

PATIENCE: Final = timedelta(days=1)
"""A file that waits in the inbox for longer is told of."""

Found = Literal["waits", "astray", "copy", "missing", "unpublished"]
"""What is told of a file: see the contract `InboxReconciliation`."""

_PREFIX: Final = 13
"""Characters before the name of a file whose name was in use when it was put away."""


@dataclass(frozen=True)
class Finding:
    """One file that something is wrong with: where it lies or should, and what a person can do."""

    place: Literal["inbox", "taken"]
    name: str
    delivery: str | None
    found: Found
    why: str
    do: str
    file: Path


def reconcile(
    box: Inbox,
    acquisition: Acquisition,
    received: Sequence[str],
    published: Collection[str],
    holds: Callable[[str], bool],
    now: datetime,
) -> Iterator[Finding]:
    """Every file that is not where the manifests and the lake say, or waits for too long.

    `received` are the deliveries that were finished before the lake was asked for `published`, those whose raw frames
    it has: what is published meanwhile lacks nothing. `holds` says whether it has this content, a sha256.
    Nothing is changed. Raises OSError when a folder cannot be read.
    """
    yield from _waiting(box, acquisition, now)
    yield from _missing(box, published)
    yield from _unpublished(box, received, published)
    yield from _taken(box, holds)


def bring_back(box: Inbox, finding: Finding) -> bool:
    """Put a file that is astray back into the inbox, unless the inbox has one of its name; whether it went."""
    return finding.found == "astray" and return_file(finding.file, box.folder / finding.file.name)


def as_rows(findings: Iterable[Finding], brought_back: Collection[Finding]) -> pl.DataFrame:
    """The findings as a table of `InboxReconciliation`, sorted."""
    rows = [
        {
            "place": one.place,
            "delivery": one.delivery or "",
            "file_name": os.fsencode(one.name).decode(errors="backslashreplace"),
            "found": one.found,
            "why": one.why,
            "do": "It was put back into the inbox." if one in brought_back else one.do,
        }
        for one in findings
    ]
    return pl.DataFrame(rows, schema=InboxReconciliation.create_empty().schema).sort(
        "place", "delivery", "file_name"
    )


def _waiting(box: Inbox, acquisition: Acquisition, now: datetime) -> Iterator[Finding]:
    if acquisition.after == "keep":
        # Most that lie there for long were taken in; a look recognises them one by one.
        return
    claimed = {name for manifest in box.under_way() for name in manifest.files}
    for name in sorted(os.listdir(box.folder)):  # noqa: PTH208  (texts: there may be very many)
        found = identity_of(f"{box.folder}/{name}")
        if found is None or name in claimed or not is_takeable(name, acquisition):
            continue
        since = file_time(found.changed_ns)
        if now - since > PATIENCE:
            yield Finding(
                "inbox",
                name,
                None,
                "waits",
                f"It lies in the inbox since {since:%Y-%m-%d %H:%M} UTC and no delivery claims it.",
                "Read the last tick of new_deliveries: it says what the delivery waits for.",
                box.folder / name,
            )


def _missing(box: Inbox, published: Collection[str]) -> Iterator[Finding]:
    for manifest in box.under_way():
        if manifest.key in published:
            continue
        for name in sorted(manifest.files):
            if identity_of(f"{box.folder}/{name}") or identity_of(f"{box.taken}/{manifest.key}/{name}"):
                continue
            yield Finding(
                "inbox",
                name,
                manifest.key,
                "missing",
                f"{manifest.key}, which is not in the lake yet, claims it, and it is gone.",
                "Put it back into the inbox if you can. The run of the delivery takes in the others and says that it "
                "vanished.",
                box.folder / name,
            )


def _unpublished(box: Inbox, received: Sequence[str], published: Collection[str]) -> Iterator[Finding]:
    for key in received:
        if key in published:
            continue
        for name in sorted(box.manifest(key).files):
            yield Finding(
                "taken",
                name,
                key,
                "unpublished",
                f"{key} is finished by its manifest, but the lake has no raw_frames of it.",
                f"Was an older lake restored? Move deliveries/received/{key}.json to deliveries/, then materialize the "
                "tables of this partition: its files are read from taken/.",
                box.taken / key / name,
            )


def _taken(box: Inbox, holds: Callable[[str], bool]) -> Iterator[Finding]:
    if not box.taken.is_dir():
        return
    for folder in sorted(box.taken.iterdir()):
        if not folder.is_dir():
            continue
        # Listed first: what is put away meanwhile belongs to a manifest that is there already.
        names = sorted(os.listdir(folder))  # noqa: PTH208
        claimed = _claimed(box, folder.name)
        for name in names:
            if name not in claimed and name[_PREFIX:] not in claimed:
                yield from _unclaimed(folder / name, holds)


def _claimed(box: Inbox, key: str) -> Collection[str]:
    try:
        return box.manifest(key).files
    except FileNotFoundError:
        return ()


def _unclaimed(file: Path, holds: Callable[[str], bool]) -> Iterator[Finding]:
    sha256 = read_unchanged(file, lambda _: True)
    if sha256 is None:
        return
    key = file.parent.name
    why = f"It lies in taken/{key}/, and no manifest of that delivery claims it; the lake"
    if holds(sha256):
        do = "Nothing is lost: delete it when you need the room."
        yield Finding("taken", file.name, key, "copy", f"{why} has its content.", do, file)
    else:
        do = "Launch reconcile_inbox with `bring_back`, or move it into the inbox: it is taken in then."
        yield Finding("taken", file.name, key, "astray", f"{why} lacks its content.", do, file)
