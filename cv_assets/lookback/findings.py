"""What an explanation compares while it reads: whether bytes are what their names say, and links say the same."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from cv_assets.evaluation.band import OperatingBand, verdict
from cv_assets.evaluation.rulings import met_in_words
from cv_assets.lookback.explanation import Finding, GoneError, Source
from cv_assets.lookback.model_links import TRAINS, Behind
from cv_assets.lookback.verdict_links import Seen

Fetch = Callable[[Source], Path]


def verdict_findings(seen: Seen, fetch: Fetch) -> Iterator[Finding]:
    """Of one capture: its bytes, and whether its verdict follows from what is stored with it."""
    raw, row, prepared = seen.capture, seen.verdict, seen.preparation
    yield _bytes(f"raw frame {raw['file_name']}", seen.raw.source.of(raw["path"]), raw["frame_id"], fetch)
    if prepared is not None and prepared["path"]:
        sha256 = prepared["path"].rpartition("/")[2].partition(".")[0]
        yield _bytes("frame as the model sees it", seen.prepared.source.of(prepared["path"]), sha256, fetch)
    if row is None:
        return
    if row["defect_score"] is not None:
        given = verdict(row["defect_score"], OperatingBand(row["lower"], row["upper"]))
        yield Finding(
            given == row["verdict"],
            f"the stored score against the stored thresholds gives {given}, the verdict is {row['verdict']}",
        )
    if seen.outbox.row(capture_id=seen.capture_id):
        told = (seen.outbox.row(capture_id=seen.capture_id) or {})["verdict"]
        yield Finding(told == row["verdict"], f"the line was told {told}, the verdict is {row['verdict']}")


def release_findings(behind: Behind, fetch: Fetch) -> Iterator[Finding]:
    """Of one release: whether gate, weights, roles and labels are those that it names."""
    row, trained = behind.release, behind.trained
    version = row["version"]
    if behind.decision.rows.height:
        rows = behind.decision.rows
        yield Finding(bool(rows["passed"].all()), f"gate of {version}: {met_in_words(rows)}")
        judged = rows.select("model", "lower", "upper").row(0)
        yield Finding(
            judged == (row["model"], row["lower"], row["upper"]),
            f"model and thresholds of {version} are those that the gate judged",
        )
    if row["outcome"] == "released":
        yield Finding(
            behind.tagged == behind.releases.source.commit,
            f"the tag {version} names the commit that put it in force",
        )
    if trained is not None:
        head = behind.checkpoint.source.of(trained["weights"])
        yield _bytes(f"head of {row['model']}", head, trained["weights_sha256"], fetch)
        train = behind.frames(TRAINS)
        yield Finding(
            train.height == trained["frames"],
            f"{trained['frames']} frames trained, {train.height} have the role {TRAINS}",
        )
    if behind.training_labels.width:
        trained_on = behind.frames(TRAINS).select("frame_id", "label")
        agreed = trained_on.join(behind.training_labels, on=["frame_id", "label"], how="semi").height
        yield Finding(
            agreed == trained_on.height,
            f"{agreed} of {trained_on.height} training labels are those of label_table",
        )


def agreement_findings(seen: Seen, behind: Behind) -> Iterator[Finding]:
    """Whether the verdict names the model, the thresholds and the pass of the release that it says decided."""
    row, release, trained = seen.verdict, behind.release, behind.trained
    if row is None:
        return
    names = ("model", "candidate", "lower", "upper")
    yield Finding(
        all(row[name] == release[name] for name in names),
        f"the verdict names the model and the thresholds of {release['version']}",
    )
    if trained is not None and row["weights_sha256"]:
        yield Finding(
            row["weights_sha256"] == trained["weights_sha256"],
            "the verdict names the weights of the released checkpoint",
        )
        yield Finding(
            row["preparation"] == trained["preparation"],
            "the frame went through the pass that the model knows",
        )


def _bytes(what: str, source: Source, sha256: str, fetch: Fetch) -> Finding:
    try:
        with fetch(source).open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except GoneError as gone:
        return Finding(True, f"the bytes of the {what} were {gone}: nothing is left to compare")
    except OSError:
        return Finding(False, f"the bytes of the {what} are there, whole")
    return Finding(found == sha256, f"the bytes of the {what} have the sha256 {sha256[:12]}… that names them")
