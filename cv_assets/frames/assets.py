"""The frames step: what cameras delivered, and the same captures after the one deterministic pass."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Final

import dagster as dg
import polars as pl
from pydantic import Field

from cv_assets.frames.captures import miscounted
from cv_assets.frames.deliveries import Manifest
from cv_assets.frames.inbox import Inbox
from cv_assets.frames.receiving import Received, receive
from cv_assets.frames.schema import InboxReconciliation, PreparedFrames, RawFrames
from cv_assets.spec.acquisition import Acquisition, Preparation
from cv_assets.spec.assets import in_force
from cv_assets.spec.schema import Spec
from resources.contracts import Audited, Check, TableAsset, preview
from resources.deployments import Deployment, writing
from resources.partitions import deliveries
from resources.pictures import figure_png, montage, picture
from resources.tables import Snapshot, Tables

if TYPE_CHECKING:
    from cv_assets.frames.preparing import PreparedDelivery, Shown

CAPTURES_ARE_NEW = Check(
    "captures_are_new", "Is every capture new? One that another delivery holds would be counted twice."
)
FILES_ARE_ACCOUNTED_FOR = Check(
    "files_are_accounted_for", "Was every claimed file taken, or known, or gone before it could be read?"
)
CAPTURES_STAY = Check(
    "captures_stay",
    "Is every capture that was published before still there? Verdicts and answers point to it for good.",
)
FRAMES_DIFFER = Check(
    "frames_differ",
    "Does every capture have a picture of its own? The same bytes twice point to a camera that stands still.",
    blocking=False,
)
CAPTURES_HAVE_ONE_ROW = Check("captures_have_one_row", "Has every raw capture exactly one row?")
FEW_ARE_REJECTED = Check(
    "few_are_rejected",
    "Is the share of rejected frames within the spec's bound? A rejected frame is a row like any other; many of them "
    "say that their station needs attention.",
    blocking=False,
)
EVERY_FILE_IS_ACCOUNTED_FOR = Check(
    "every_file_is_accounted_for",
    "Is every file of the inbox, of `taken/` and of the manifests where it should be, and its content in the lake?",
    blocking=False,
)

RAW_FRAMES = TableAsset(
    "raw_frames",
    RawFrames,
    step="frames",
    partitions=deliveries,
    checks=(CAPTURES_ARE_NEW, CAPTURES_STAY, FILES_ARE_ACCOUNTED_FOR, FRAMES_DIFFER),
)
PREPARED_FRAMES = TableAsset(
    "prepared_frames",
    PreparedFrames,
    step="frames",
    kinds=frozenset({"opencv"}),
    partitions=deliveries,
    checks=(CAPTURES_HAVE_ONE_ROW, FEW_ARE_REJECTED),
)
INBOX_RECONCILIATION = TableAsset(
    "inbox_reconciliation", InboxReconciliation, step="frames", checks=(EVERY_FILE_IS_ACCOUNTED_FOR,)
)

_CAPTURE: Final = ("station", "camera", "part", "captured_at", "frame_id")
"""What makes a file this capture and no other, besides its name."""

_SHOWN_COLUMNS: Final = ("part", "station", "camera", "group", "captured_at", "width", "height", "file_name")


@dg.asset(**RAW_FRAMES.arguments)
def raw_frames(
    context: dg.AssetExecutionContext,
    project_spec: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """What cameras delivered: one capture per row, as it arrived, with where its bytes are.

    A delivery is the files of one station that were written down together in its manifest. Every file is a row, also
    one that is no image. A file that an earlier delivery brought already gets no second row; one that was rewritten
    before it could be read joins a later delivery.
    """
    spec = in_force(project_spec, deployment)
    acquisition = spec.acquisition
    snapshot, box = tables.snapshot(context), inbox(deployment, acquisition)
    manifest = _claimed(box, context.partition_key)
    earlier = _captures_elsewhere(snapshot, manifest.key)
    published = snapshot.table("raw_frames", manifest.key, or_empty=RawFrames)
    with _scratch(deployment) as folder:
        try:
            received = receive(
                box,
                manifest,
                acquisition=acquisition,
                elsewhere=set(earlier["capture_id"]),
                published=published,
                received_at=datetime.now(UTC),
                folder=folder,
            )
        except OSError as error:
            raise dg.Failure(
                f"{manifest.key} cannot be taken in now: {error}. Nothing is lost: mend it and re-execute the run."
            ) from error
        yield from RAW_FRAMES.audited(
            received.rows,
            files={**_kept(received, snapshot), receipt_path(manifest.key): _receipts_json(received)},
            checks=[
                CAPTURES_ARE_NEW.no_rows(received.rows.join(earlier, on="capture_id", how="semi")),
                _captures_stay(published, received.rows),
                _accounts(manifest, received),
                FRAMES_DIFFER.no_rows(_same_pictures(received.rows, earlier)),
            ],
            metadata={
                "closed by": manifest.closed_by,
                "captures": received.rows.height,
                "files": ", ".join(f"{count} {outcome}" for outcome, count in received.outcomes().items()),
                **_not_taken(received),
                **_first_pictures(received, snapshot, spec.preparation.bounds.max_pixels),
                "rows": preview(received.rows, _SHOWN_COLUMNS),
            },
        )


@dg.asset(**PREPARED_FRAMES.arguments)
def prepared_frames(
    context: dg.AssetExecutionContext,
    project_spec: pl.DataFrame,
    raw_frames: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """The same captures after the one deterministic pass: accepted, or rejected with the reason and its score.

    The pass is the spec's `preparation`; models see exactly these pictures. Statistics are measured
    of the frame as it was taken and of what a model sees, for normalising hides a drift of the exposure. A capture
    whose raw frame was let go keeps the row that it had.
    """
    from cv_assets.frames.preparing import prepare_delivery

    spec, snapshot = in_force(project_spec, deployment), tables.snapshot(context)
    gone = pl.col("path").is_in(list(snapshot.let_go(raw_frames["path"])))
    before = _prepared_before(snapshot, context.partition_key, raw_frames.filter(gone))
    with _scratch(deployment) as folder:
        delivery = prepare_delivery(
            raw_frames.filter(~gone),
            snapshot.fetch,
            preparation=spec.preparation,
            acquisition=spec.acquisition,
            folder=folder,
        )
        rows = pl.concat([delivery.rows, before])
        yield from PREPARED_FRAMES.audited(
            rows,
            files=delivery.files,
            checks=[
                CAPTURES_HAVE_ONE_ROW.no_rows(miscounted(raw_frames, rows)),
                _few_are_rejected(rows, spec.acquisition.max_rejected),
            ],
            metadata={
                **({"let go before": before.height} if before.height else {}),
                **_trends(rows),
                **_pictures(delivery, raw_frames, snapshot, spec),
            },
        )


class Reconciling(dg.Config):
    """What is done about what is found."""

    bring_back: bool = Field(
        False,
        description="Files below taken/ whose content the lake lacks go back to the inbox, to be taken in.",
    )


@dg.asset(**INBOX_RECONCILIATION.arguments)
def inbox_reconciliation(
    context: dg.AssetExecutionContext,
    config: Reconciling,
    project_spec: pl.DataFrame,
    tables: dg.ResourceParam[Tables],
    deployment: dg.ResourceParam[Deployment],
) -> Audited:
    """The files that no look at the inbox comes upon, each with what to do; no row when all is accounted for.

    All of the inbox, of `taken/` and of the manifests is held against one another and against the lake: files that wait
    for more than a day, files that nothing accounts for, claimed files that are gone, finished deliveries that the lake
    lacks. Nothing moves, but with `bring_back` what lies below `taken/` and is not in the lake.
    """
    from cv_assets.frames.reconciling import as_rows, bring_back, reconcile

    acquisition = in_force(project_spec, deployment).acquisition
    snapshot, box = tables.snapshot(context), inbox(deployment, acquisition)
    held = set(snapshot.columns("raw_frames", ("frame_id",), schema=RawFrames)["frame_id"])
    # First: what is finished after that may be newer than the state of the lake.
    received = box.keys_received()
    published = set(tables.head().partitions("raw_frames"))
    with writing(box.folder):
        found = list(reconcile(box, acquisition, received, published, held.__contains__, datetime.now(UTC)))
        returned = [one for one in found if config.bring_back and bring_back(box, one)]
    rows = as_rows(found, returned)
    kinds = rows["found"].value_counts(sort=True)
    said = ", ".join(f"{count} {kind}" for kind, count in kinds.iter_rows())
    yield from INBOX_RECONCILIATION.audited(
        rows,
        checks=[EVERY_FILE_IS_ACCOUNTED_FOR.no_rows(rows, said or "Every file is accounted for.")],
        metadata={
            "in short": said or "nothing",
            "brought back": len(returned),
            "rows": preview(rows, rows_shown=40),
        },
    )


def inbox(deployment: Deployment, acquisition: Acquisition) -> Inbox:
    """The watched folder of a deployment."""
    return Inbox(
        folder=deployment.folder(acquisition.inbox),
        state=deployment.data_dir / "deliveries",
        memory=deployment.cache_dir / "inbox.json",
    )


def receipt_path(delivery: str) -> str:
    """Where in the lake it is written what became of each file that a delivery claimed."""
    return f"raw_frames/{delivery}/receipts.json"


def _kept(received: Received, snapshot: Snapshot) -> dict[str, Path]:
    """The bytes by their lake path, but for those that were let go: to read a file again does not bring them back."""
    gone = snapshot.let_go(received.files)
    return {path: file for path, file in received.files.items() if path not in gone}


def _prepared_before(snapshot: Snapshot, delivery: str, captures: pl.DataFrame) -> pl.DataFrame:
    """The published rows of these captures."""
    if captures.is_empty():
        return PreparedFrames.create_empty()
    published = snapshot.table("prepared_frames", delivery, or_empty=PreparedFrames)
    return published.join(captures, on="capture_id", how="semi")


def _claimed(box: Inbox, delivery: str) -> Manifest:
    try:
        return box.manifest(delivery)
    except FileNotFoundError as error:
        raise dg.Failure(
            f"{error}. A delivery is made by the sensor new_deliveries from files in {box.folder}.",
            allow_retries=False,
        ) from error


def _captures_elsewhere(snapshot: Snapshot, delivery: str) -> pl.DataFrame:
    """Capture and frame of every row of the other deliveries."""
    others = [key for key in snapshot.partitions("raw_frames") if key != delivery]
    return snapshot.columns("raw_frames", ("capture_id", "frame_id"), schema=RawFrames, partitions=others)


@contextmanager
def _scratch(deployment: Deployment) -> Iterator[Path]:
    """A folder for bytes on their way into the lake, on the disk of the data: a delivery may not fit into memory."""
    with writing(deployment.cache_dir):
        deployment.cache_dir.mkdir(parents=True, exist_ok=True)
        folder = Path(mkdtemp(dir=deployment.cache_dir, prefix="frames-"))
        try:
            yield folder
        finally:
            # A step whose table is refused ends here, when it is collected: a TemporaryDirectory would warn.
            shutil.rmtree(folder, ignore_errors=True)


def _receipts_json(received: Received) -> bytes:
    return json.dumps(
        {name: asdict(receipt) for name, receipt in received.receipts.items()}, indent=1
    ).encode()


def _captures_stay(published: pl.DataFrame, rows: pl.DataFrame) -> dg.AssetCheckResult:
    """Whether no published capture is gone: its id follows from its file name, as the spec's pattern reads it."""
    gone = published.join(rows, on="capture_id", how="anti").select("capture_id", "file_name", *_CAPTURE)
    if gone.is_empty():
        return CAPTURES_STAY.no_rows(gone, f"All {published.height} captures that were published are there.")
    first = gone.row(0, named=True)
    now = next(rows.filter(file_name=first["file_name"]).iter_rows(named=True), dict.fromkeys(_CAPTURE))
    others = [f"{name} {first[name]} → {now[name]}" for name in _CAPTURE if first[name] != now[name]]
    return CAPTURES_STAY.no_rows(
        gone,
        f"{gone.height} of {published.height} published captures would be others, such as {first['file_name']}: "
        f"{', '.join(others)}. `acquisition.file_name`, `time_format` or `metadata` of the spec changed. What was "
        "taken in stays as it was read: nothing has to be done, and new deliveries are read the new way. To "
        "materialize this one again, put the earlier setting back.",
    )


def _accounts(manifest: Manifest, received: Received) -> dg.AssetCheckResult:
    outcomes = received.outcomes()
    said = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
    passed = (
        set(received.receipts) == set(manifest.files) and outcomes.get("taken", 0) == received.rows.height
    )
    return FILES_ARE_ACCOUNTED_FOR.result(passed, f"Of {len(manifest.files)} claimed files: {said}.")


def _not_taken(received: Received) -> dict[str, dg.TableMetadataValue]:
    """The files that got no row and why, if there are any."""
    others = [
        (name, receipt.outcome) for name, receipt in received.receipts.items() if receipt.outcome != "taken"
    ]
    if not others:
        return {}
    return {
        "not taken": preview(pl.DataFrame(others, schema=["file", "because"], orient="row"), rows_shown=20)
    }


def _first_pictures(received: Received, snapshot: Snapshot, max_pixels: int) -> dict[str, dg.MetadataValue]:
    from cv_assets.frames.preparing import first_frames

    def fetch(path: str) -> Path:
        # A file that is gone since an earlier run is in the lake.
        return received.files.get(path) or snapshot.fetch(path)

    return _montage("first", first_frames(received.rows, fetch, max_pixels))


def _same_pictures(rows: pl.DataFrame, earlier: pl.DataFrame) -> pl.DataFrame:
    seen_before = pl.col("frame_id").is_in(earlier["frame_id"].implode())
    return rows.filter(pl.col("frame_id").is_duplicated() | seen_before).select(
        "station", "camera", "part", "frame_id"
    )


def _few_are_rejected(rows: pl.DataFrame, bound: float) -> dg.AssetCheckResult:
    from cv_assets.frames.preparing import rejections

    share = rows.filter(~pl.col("accepted")).height / max(rows.height, 1)
    return FEW_ARE_REJECTED.result(
        share <= bound, f"{rejections(rows)}; at most {bound:.0%} may be.", {"share": share}
    )


def _trends(rows: pl.DataFrame) -> dict[str, int | float]:
    """What is worth watching from delivery to delivery; a median of no frame is left out."""
    rejected = rows.filter(~pl.col("accepted")).height
    decoded = rows.select(pl.col("decoded").struct.unnest()).select("focus", "brightness", "contrast")
    medians = {f"median {one.name}": one.median() for one in decoded.iter_columns()}
    return {
        "accepted": rows.height - rejected,
        "rejected": rejected,
        "rejected share": rejected / max(rows.height, 1),
        **{name: value for name, value in medians.items() if isinstance(value, float)},
    }


def _pictures(
    delivery: "PreparedDelivery", raw_frames: pl.DataFrame, snapshot: Snapshot, spec: Spec
) -> dict[str, dg.MetadataValue]:
    from cv_assets.frames.preparing import accepted_frames, rejected_frames

    max_pixels = spec.preparation.bounds.max_pixels
    rejected = rejected_frames(delivery, raw_frames, snapshot.fetch, max_pixels)
    return {
        "reasons": preview(delivery.rows["reason"].value_counts(sort=True), rows_shown=20),
        **_montage("accepted", accepted_frames(delivery, raw_frames)),
        **_montage("rejected", rejected),
        **_focus(delivery.rows, spec.preparation),
    }


def _montage(name: str, shown: "Shown") -> dict[str, dg.MetadataValue]:
    if not shown.images:
        return {}
    return {f"{name} frames": picture(montage(shown.images, shown.captions), f"{name} frames")}


def _focus(rows: pl.DataFrame, preparation: Preparation) -> dict[str, dg.MetadataValue]:
    """How sharp the decoded frames are, beside the bound."""
    from matplotlib.figure import Figure

    focus = rows["decoded"].struct.field("focus").drop_nulls()
    if focus.is_empty():
        return {}
    figure = Figure(figsize=(5, 2), layout="constrained")
    axes = figure.subplots()
    axes.hist(focus.to_numpy(), bins=30, color="tab:blue")
    if (bound := preparation.bounds.min_focus) is not None:
        axes.axvline(bound, color="tab:red", label=f"rejected below {bound:g}")
        axes.legend()
    axes.set(xlabel="focus (variance of the Laplacian)", ylabel="frames")
    return {"focus": picture(figure_png(figure), "focus of the decoded frames")}
