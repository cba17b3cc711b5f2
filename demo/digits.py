"""A second plant beside the first: a press that stamps digits.

Start both projects in one UI, then play this one:

    make dev SPEC="specs/solar_cells.yaml specs/digits.yaml"
    .venv/bin/python -m demo.digits

The order is for 8s, and the stamp slips now and then: some parts carry another digit. 12 lots are imaged, annotators
vote on 8 of them, a person verifies the other 4 as golden, a candidate is trained, and an approver releases it; then
one more lot gets its verdicts from the release. The pictures are the handwritten digits of the UCI repository (E.
Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", CC BY 4.0), as scikit-learn installs them: 8 by 8
pixels, enlarged to 64 by 64. That they are stamped is only told; the votes are the data set's own labels.
"""

import csv
import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import httpx
import polars as pl

from cv_assets.spec.load import load_spec
from cv_assets.spec.schema import Spec
from demo.api import Dagster, DagsterError
from demo.plant import write_and_rename
from demo.watch import StoryError
from resources.deployments import ROOT, Deployment, current, for_one_project
from resources.tables import Tables

SPEC_FILE: Final = ROOT / "specs" / "digits.yaml"
ORDERED: Final = 8
LOTS: Final = 13
EIGHTS, OTHERS = 13, 11
"""Of each lot: both kinds are shown, far more of the second than a press would make."""

TRAIN, GOLDEN, AFTER = slice(0, 8), slice(8, 12), slice(12, 13)
FIRST_PART: Final = datetime(2026, 3, 2, 6, tzinfo=UTC)
SIDE: Final = 64
CANDIDATE: Final = "2026-03-first"
LAST_TABLE: Final = "drift_metrics"
PATIENCE_SECONDS: Final = 600.0


@dataclass(frozen=True)
class Part:
    """One stamped part: the digit that it carries, its picture as PNG, and what the camera calls it."""

    digit: int
    picture: bytes
    file_name: str

    @property
    def label(self) -> str:
        """The class that whoever looks at it names."""
        return "eight" if self.digit == ORDERED else "other"


def lots() -> list[list[Part]]:
    """The lots of the press, in the order in which it stamps them."""
    from sklearn.datasets import load_digits

    found = load_digits()
    eights = [one for one in zip(found.target, found.images, strict=True) if one[0] == ORDERED]
    others = [one for one in zip(found.target, found.images, strict=True) if one[0] != ORDERED]
    return [
        _lot(
            number,
            [
                *eights[number * EIGHTS : (number + 1) * EIGHTS],
                *others[number * OTHERS : (number + 1) * OTHERS],
            ],
        )
        for number in range(LOTS)
    ]


def _lot(number: int, stamped: Sequence[tuple[int, Any]]) -> list[Part]:
    begins, name = FIRST_PART + number * timedelta(minutes=20), f"lot{number + 1:02d}"
    return [
        Part(
            int(digit),
            _png(image_HW),
            f"press1_cam1_{begins + place * timedelta(seconds=10):%Y%m%dT%H%M%S}_{name}of{len(stamped)}_"
            f"{name}p{place:03d}.png",
        )
        for place, (digit, image_HW) in enumerate(stamped, start=1)
    ]


def _png(image_HW: Any) -> bytes:
    """The digit, from 17 levels of ink at 8 by 8 pixels to 256 levels of grey at 64 by 64."""
    from PIL import Image

    picture = Image.fromarray((image_HW * 255 / 16).astype("uint8")).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC
    )
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def image(inbox: Path, parts: Iterable[Part]) -> None:
    """The camera writes the pictures of the parts."""
    inbox.mkdir(parents=True, exist_ok=True)
    for part in parts:
        write_and_rename(inbox / part.file_name, part.picture)


def export(folder: Path, project: str, parts: Iterable[Part], guideline: str, **verified: str) -> None:
    """An annotator's answers as CSV: votes, or with `benchmark` and `verified_by` the labels of the golden set."""
    stream = io.StringIO()
    said = [
        {
            "tool": "by_hand",
            "project": project,
            "image": part.file_name,
            "annotator": "ann",
            "class": part.label,
            "annotated_at": datetime.now(UTC).isoformat(),
            "guideline": guideline,
            **verified,
        }
        for part in parts
    ]
    writer = csv.DictWriter(stream, said[0])
    writer.writeheader()
    writer.writerows(said)
    folder.mkdir(parents=True, exist_ok=True)
    write_and_rename(folder / f"{project}.csv", stream.getvalue().encode())


@dataclass(frozen=True)
class Plant:
    """The plant's side of the story: its folders, and the Dagster that a person clicks in."""

    deployment: Deployment
    spec: Spec
    dagster: Dagster
    failed_before: frozenset[str] = frozenset()

    @cached_property
    def tables(self) -> Tables:
        """The lake, where one sees how far the product is."""
        return Tables(self.deployment)

    def deliver(self, parts: Sequence[Sequence[Part]]) -> None:
        """Image these lots, but those that were, and wait for the verdict on each part."""
        there = self._measured()
        for lot in parts:
            if lot[0].file_name not in there:
                image(self.deployment.folder(self.spec.acquisition.inbox), lot)
        names = {part.file_name for lot in parts for part in lot}
        _say(f"{len(parts)} lots are imaged, {len(names)} parts")
        self._until("every lot to be inspected", lambda: names <= self._measured())

    def label(self, train: Iterable[Part], golden: Iterable[Part]) -> None:
        """Votes and golden labels are exported."""
        folder, guideline = self.deployment.folder(self.spec.labels.exports), self.spec.labels.guideline
        export(folder, "stamps-1", train, guideline)
        export(folder, "golden-1", golden, guideline, benchmark="golden", verified_by="eva.golden")
        _say("votes and golden labels are exported")
        self._until(
            "label table and benchmark",
            lambda: self.tables.head().has("label_table") and self.tables.head().has("benchmark_frames"),
        )
        self._until("both exports", lambda: len(self.tables.head().partitions("annotations")) == 2)

    def release(self) -> str:
        """A person asks for a candidate, and an approver releases it: its version. Raises StoryError when refused."""
        if not self.tables.head().has("training_request", CANDIDATE):
            self._request()
        self._until("the candidate to be judged", lambda: not self._decision().is_empty())
        if not self._decision()["passed"].all():
            raise StoryError(f"{CANDIDATE} missed a criterion: look at digits/release_decision.")
        approver = self.spec.release.approvers[0]
        conclusion = {"candidate": CANDIDATE, "approver": approver, "why": "All criteria are met."}
        self.dagster.launch("release", {"releases": conclusion})
        _say(f"{approver} looks at the decision and approves")
        self._until("the release", lambda: self.tables.head().has("releases"))
        return str(self.tables.head().table("releases")["version"][-1])

    def _request(self) -> None:
        self.dagster.add_partition("candidates", CANDIDATE)
        request = {
            "reason": "first_release",
            "evidence": "the first labelled lots",
            "requested_by": "ml.engineer",
        }
        self.dagster.launch("retrain", {"training_request": request}, CANDIDATE)
        _say(f"candidate {CANDIDATE} is requested")

    def _measured(self) -> set[str]:
        head = self.tables.head()
        done = [head.table("raw_frames", key)["file_name"] for key in head.partitions(LAST_TABLE)]
        return {name for names in done for name in names}

    def _decision(self) -> pl.DataFrame:
        """A row per criterion; none while the candidate is not judged."""
        candidate = self.tables.candidate(CANDIDATE)
        if candidate is None or not candidate.has("release_decision", CANDIDATE):
            return pl.DataFrame()
        return candidate.table("release_decision", CANDIDATE)

    def _until(self, what: str, happened: Callable[[], bool]) -> None:
        """Raises StoryError when a run of this project failed, or when it takes too long."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not happened():
            for failed in failed_runs(self.dagster) - self.failed_before:
                raise StoryError(f"Run {self.dagster.run_url(failed)}: {self.dagster.failure(failed)}")
            if time.monotonic() > deadline:
                raise StoryError(
                    f"Waited {PATIENCE_SECONDS:g} s for {what}: look at {self.dagster.url}/runs."
                )
            time.sleep(1)


def failed_runs(dagster: Dagster) -> frozenset[str]:
    """The ids of the project's runs that failed or were canceled."""
    return frozenset(run.id for run in dagster.runs() if run.status in ("FAILURE", "CANCELED"))


def play(plant: Plant) -> None:
    """From empty folders to verdicts by the first release. Raises StoryError."""
    stamped = lots()
    plant.deliver(stamped[TRAIN] + stamped[GOLDEN])
    plant.label(
        [part for lot in stamped[TRAIN] for part in lot], [part for lot in stamped[GOLDEN] for part in lot]
    )
    _say(f"released: {plant.release()}")
    plant.deliver(stamped[AFTER])
    verdicts = plant.tables.head().tables("inspections").filter(pl.col("release").is_not_null())["verdict"]
    counts: Mapping[str, int] = dict(verdicts.value_counts().iter_rows())
    _say(f"the next lot: {', '.join(f'{count} {verdict}' for verdict, count in sorted(counts.items()))}")


def _say(sentence: str) -> None:
    print(f"{datetime.now().astimezone():%H:%M:%S}  {sentence}", flush=True)


def main() -> int:
    """Play it against the Dagster at `DAGSTER_URL`; 1 with a sentence when it cannot go on."""
    if shared := for_one_project():
        print(f"{', '.join(shared)} is for one project: unset it to show several.", file=sys.stderr)
        return 1
    os.environ["CV_SPEC"] = str(SPEC_FILE)
    deployment = current()
    spec = load_spec(deployment.spec_file)
    dagster = Dagster(deployment.dagster_url, spec.name)
    plant = Plant(deployment, spec, dagster)
    if plant.tables.head().has("releases"):
        _say(f"{spec.name} is released already in {deployment.data_dir}: look at {deployment.dagster_url}")
        return 0
    try:
        play(replace(plant, failed_before=failed_runs(dagster)))
    except (StoryError, DagsterError, httpx.HTTPError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    _say(f"Look at {deployment.dagster_url}: both projects stand side by side.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
