"""Taking a delivery in: each claimed file is read once, and something is said of each."""

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from cv_assets.frames.captures import capture_row, readable
from cv_assets.frames.deliveries import Manifest, Receipt
from cv_assets.frames.headers import Bytes, UnreadableError, mapped, read_header
from cv_assets.frames.inbox import Inbox
from cv_assets.frames.schema import RawFrames
from cv_assets.frames.stripping import strip
from cv_assets.spec.acquisition import Acquisition


@dataclass(frozen=True)
class Received:
    """A delivery as it was read: its captures, what became of each claimed file, and the bytes by their lake path."""

    rows: pl.DataFrame
    receipts: Mapping[str, Receipt]
    files: Mapping[str, Path]

    def outcomes(self) -> Mapping[str, int]:
        """How many files had each outcome."""
        return Counter(receipt.outcome for receipt in self.receipts.values())


def receive(
    inbox: Inbox,
    manifest: Manifest,
    *,
    acquisition: Acquisition,
    elsewhere: Collection[str],
    published: pl.DataFrame,
    received_at: datetime,
    folder: Path,
) -> Received:
    """Read the claimed files of a delivery, copying them to `folder`, which must outlive what is returned.

    A capture that is among `elsewhere`, the capture ids of other deliveries, was delivered again and gets no row.
    `published` are this delivery's own rows, if it was taken in before: a file that is gone since keeps its row.
    Raises OSError when a file or the inbox cannot be read.
    """
    read = _Reading(inbox, manifest, acquisition, received_at, folder)
    others = set(elsewhere) - set(published["capture_id"])
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        files = list(threads.map(read.file, range(len(manifest.files)), manifest.files))
    before = _rows_of_others(published, files)
    found = [_settled(file, before, others) for file in files]
    rows = pl.DataFrame([file.row for file in found if file.row], schema=RawFrames.create_empty().schema)
    return Received(
        rows.sort("captured_at", "file_name"),
        {file.name: file.receipt for file in found},
        {file.row["path"]: file.copy for file in found if file.row and file.copy},
    )


@dataclass(frozen=True)
class _File:
    name: str
    receipt: Receipt
    row: dict[str, Any] | None = None
    copy: Path | None = None


@dataclass(frozen=True)
class _Reading:
    inbox: Inbox
    manifest: Manifest
    acquisition: Acquisition
    received_at: datetime
    folder: Path

    def file(self, place: int, name: str) -> _File:
        # Not under its own name, which may be too odd for another file system.
        copy = self.folder / str(place)
        sha256 = self.inbox.copy(self.manifest, name, copy)
        if sha256 is None:
            is_there = (self.inbox.folder / name).exists()
            return _File(name, Receipt("changed" if is_there else "vanished"))
        with mapped(copy) as content:
            # The receipt is about the file that lies in the inbox, the row about the bytes that are kept.
            receipt = Receipt("taken", sha256, _is_whole(content))
        frame_id = sha256 if self.acquisition.metadata == "keep" else strip(copy, sha256)
        with mapped(copy) as content:
            row = capture_row(
                name,
                content=content,
                frame_id=frame_id,
                identity=self.manifest.files[name],
                delivery=self.manifest.key,
                received_at=self.received_at,
                acquisition=self.acquisition,
            )
        return _File(name, receipt, row, copy)


def _rows_of_others(published: pl.DataFrame, files: Collection[_File]) -> dict[str, Iterator[dict[str, Any]]]:
    """The published rows, by file name, but for those of captures that were read again among `files`."""
    read_again = {file.row["capture_id"] for file in files if file.row}
    # Two names that are no text may read alike: each of their files has a row of its own.
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in published.iter_rows(named=True):
        if row["capture_id"] not in read_again:
            rows[row["file_name"]].append(row)
    return {name: iter(alike) for name, alike in rows.items()}


def _settled(file: _File, before: Mapping[str, Iterator[dict[str, Any]]], others: Collection[str]) -> _File:
    """The file as it counts: with a row of `before` when it is gone, without a row when it is among `others`."""
    if file.row is None and (row := next(before.get(readable(file.name), iter(())), None)):
        return _File(file.name, Receipt("taken", row["frame_id"]), row)
    if file.row and file.row["capture_id"] in others:
        return _File(file.name, replace(file.receipt, outcome="repeated"))
    return file


def _is_whole(content: Bytes) -> bool:
    try:
        return not read_header(content).missing
    except UnreadableError:
        return False
