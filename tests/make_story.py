"""Makes a small sound story: what a plant knows and a product left after its seasons, without playing them."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from cv_assets.inspection.outbox import verdict_file
from cv_assets.inspection.schema import Inspections
from cv_assets.spec.schema import Spec
from demo.claims import Outcome
from demo.figures import Estimate, Figures, verdict_figures
from demo.loop_claims import Alarms, Loop
from demo.modules import Cell
from demo.people import Asked
from demo.plant import ANNOTATORS, VERIFIER, Task, part_name
from demo.seasons import opening
from demo.telling import Told
from demo.verdict_claims import CHAIN, Decider, Inspected

HEAD, BACKBONE = b"head", b"backbone"
TRAIN, GOLDEN, LATER, POLY, UNSEEN = 1, 2, 3, 4, 5
LOWER, UPPER = 0.3, 0.7
SCORES = (0.1, 0.2, 0.5, 0.9, None)
"""Defect scores of the later cells: two pass (the second is audited), one is unsure, one fails, one is rejected."""

RELEASE = {"version": "v1.0.0", "model": "cnn", "lower": LOWER, "upper": UPPER}

Change = Callable[[pl.DataFrame], pl.DataFrame]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def of_the_first(column: str, value: object) -> Change:
    """A change of one table: another value in the first row of `column`."""

    def change(table: pl.DataFrame) -> pl.DataFrame:
        rest = table[column].slice(1)
        return table.with_columns(pl.Series(column, [value, *rest], dtype=table.schema[column]))

    return change


def cells(folder: Path, module: int, *probabilities: float) -> list[Cell]:
    """Cells of one module, each with a picture of its own."""
    made = []
    for position, probability in enumerate(probabilities):
        image = folder / f"{module}-{position}.png"
        image.write_bytes(image.name.encode())
        made.append(Cell(module, position, probability, image))
    return made


def report(**values: float | None) -> pl.DataFrame:
    """What the evaluation report says of one model on all golden frames."""
    about = {"model": "cnn", "set": "golden", "slice": "all"}
    on = {"low": 0.0, "high": 1.0, "samples": 9, "groups": 3}
    rows = [{**about, "metric": metric, "value": value, **on} for metric, value in values.items()]
    return pl.DataFrame(rows, schema_overrides={"value": pl.Float64})


def decision(spec: Spec) -> pl.DataFrame:
    """Every criterion of the spec, met."""
    rows = [
        {
            "number": number,
            "kind": "acceptance",
            "criterion": f"criterion {number}",
            "metric": one.metric,
            "set": one.set,
            "slice": one.slice,
            "measured": 0.5,
            "low": 0.4,
            "high": 0.6,
            "required": 0.3,
            "comparison": "at_least",
            "samples": one.min_samples,
            "passed": True,
            "why": "met",
            "model": "cnn",
        }
        for number, one in enumerate(spec.evaluation.acceptance, start=1)
    ]
    return pl.DataFrame(rows)


def first_season(spec: Spec, folder: Path) -> Outcome:
    """Two cells of a training module and two of a golden one, released."""
    made = [*cells(folder, TRAIN, 0.0, 1.0), *cells(folder, GOLDEN, 0.0, 1.0)]
    truth = {f"m{cell.module:02d}c{cell.position:03d}.png": cell for cell in made}
    frames = [cell.frame_id for cell in made]
    raw = pl.DataFrame({"capture_id": list("abcd"), "frame_id": frames, "file_name": list(truth)})
    releases = pl.DataFrame(
        {
            "outcome": ["released"],
            "version": ["v1.0.0"],
            "candidate": ["first"],
            "trigger": ["first_release"],
            "model": ["cnn"],
        }
    )
    return Outcome(
        spec=spec,
        truth=truth,
        golden=frozenset({GOLDEN}),
        voted=frozenset(frames[:2]),
        verified=dict.fromkeys(frames[2:], "golden"),
        raw=raw,
        prepared=raw.select("capture_id", accepted=pl.lit(True), reason=pl.lit("ok")),
        labels=pl.DataFrame({"frame_id": frames[:2], "resolution": ["unanimous", "majority"]}),
        benchmark=pl.DataFrame(
            {"frame_id": frames[2:], "set": ["golden"] * 2, "label": ["sound", "defective"]}
        ),
        split=pl.DataFrame({"frame_id": frames, "role": ["train", "train", "golden", "golden"]}),
        report=report(escape_rate=0.1, overkill=0.0, fail_precision=1.0, review_share=0.4),
        decision=decision(spec),
        checkpoint=pl.DataFrame(
            {
                "weights_sha256": [sha256(HEAD)],
                "backbone": [f"cnn_checkpoint/first/{sha256(BACKBONE)}.safetensors"],
            }
        ),
        weights=(HEAD, BACKBONE),
        releases=releases,
        tags={"v1.0.0": releases},
    )


def second_season(spec: Spec, folder: Path) -> Inspected:
    """The cells of season 1, undecided then and answered since, and five of a later module, seen under v1.0.0."""
    early = [*cells(folder, TRAIN, 0.0, 1.0), *cells(folder, GOLDEN, 0.0, 1.0)]
    later = cells(folder, LATER, 0.0, 1 / 3, 2 / 3, 1.0, 0.0)
    rows = [_undecided(cell) for cell in early]
    rows += [decided(cell, score) for cell, score in zip(later, SCORES, strict=True)]
    inspections = pl.DataFrame(rows, schema=Inspections.create_empty().schema)
    raw = inspections.select("capture_id", file_name=pl.col("part") + ".png")
    due = (pl.col("verdict") == "REVIEW") | pl.col("audit")
    queue = inspections.filter(due).with_columns(
        _reason(),
        path=pl.col("raw_path"),
        probability=pl.col("review_probability"),
        state=pl.lit("answered"),
    )
    truth = {cell.frame_id: cell for cell in (*early, *later)}
    queue = queue.with_columns(
        answer=pl.col("frame_id").map_elements(
            lambda key: "defective" if truth[key].defective else "sound", return_dtype=pl.String
        ),
        answered_by=pl.when(pl.col("group") == f"m{GOLDEN:02d}")
        .then(pl.lit([VERIFIER]))
        .otherwise(pl.lit(list(ANNOTATORS))),
    )
    tasks = queue.filter(pl.col("release").is_not_null()).select("part", "path", "reason")
    deliveries = {str(key): part for (key,), part in inspections.group_by("delivery")}
    return Inspected(
        spec=spec,
        truth=truth,
        verified=frozenset(cell.frame_id for cell in early if cell.module == GOLDEN),
        deciders={2: Decider(RELEASE, sha256(HEAD))},
        raw=raw,
        inspections=inspections,
        verdict_files={
            key: json.loads(verdict_file(part, raw, key))["verdicts"] for key, part in deliveries.items()
        },
        asked=(Asked(2, tuple(Task(*row, Path()) for row in tasks.iter_rows()), (), queue),),
        drifted=frozenset(),
        queue=queue,
        explained="m03c003",
        explanation=pl.DataFrame({"link": sorted(CHAIN - {"review"})}),
        dangling=(),
        before=inspections,
        replay=inspections.filter(pl.col("defect_score").is_not_null()).select(
            "capture_id", "verdict", "defect_score", changed=pl.col("verdict") == "REVIEW"
        ),
    )


def figures_of(spec: Spec, escape: int, overkill: int) -> Figures:
    """Figures of 100 defective and 100 sound cells, so many of them passed and failed; people see none."""
    said = [("PASS", True)] * escape + [("FAIL", True)] * (100 - escape)
    said += [("FAIL", False)] * overkill + [("PASS", False)] * (100 - overkill)
    rows = pl.DataFrame(
        {
            "frame_id": [str(number) for number in range(200)],
            "group": [f"m{number % 4}" for number in range(200)],
            "verdict": [verdict for verdict, _ in said],
        }
    )
    truth = {str(number): defective for number, (_, defective) in enumerate(said)}
    return verdict_figures(rows, truth, spec.evaluation)


def alarm(state: str, *deliveries: str, closed_by: str | None = None) -> pl.DataFrame:
    """The table of alarms with the one drift alarm of the first release."""
    row = {
        "alarm_id": "drift-r1",
        "kind": "drift",
        "state": state,
        "why": "novelty is high",
        "release": "v1.0.0",
        "first_delivery": deliveries[0],
        "deliveries": list(deliveries),
        "attempts": int(state == "closed"),
        "closed_by": closed_by,
    }
    return pl.DataFrame([row], schema_overrides={"closed_by": pl.String})


def the_loop(spec: Spec, folder: Path) -> Loop:
    """Two poly modules arrive, the second makes it an alarm, and a sensor's candidate takes over."""
    arriving = [*cells(folder, POLY, 0.0, 1.0), *cells(folder, UNSEEN, 0.0)]
    rows = [
        {**decided(cell, 0.9, f"d{cell.module}", 3), "attributes": json.dumps({"product": "poly"})}
        for cell in arriving
    ]
    rows = [{**row, "captured_at": row["captured_at"] + timedelta(hours=n)} for n, row in enumerate(rows)]
    judged = decision(spec)
    more = [judged.head(1).with_columns(kind=pl.lit(kind)) for kind in ("regression", "condition")]
    requests = [("first_release", "enough labels", "ml.engineer"), ("drift", "drift-r1", "retrain_on_drift")]
    return Loop(
        spec=spec,
        truth={cell.frame_id: cell for cell in arriving},
        unseen=frozenset({GOLDEN, LATER, UNSEEN}),
        inspections=pl.DataFrame(rows, schema=Inspections.create_empty().schema),
        alarms=Alarms(
            season2=alarm("open", "d4").clear(),
            warned=alarm("warning", "d4"),
            alarmed=alarm("open", "d4", "d5"),
            end=alarm("closed", "d4", "d5", closed_by="drift-r1-1"),
        ),
        requests=pl.DataFrame(requests, schema=["reason", "evidence", "requested_by"], orient="row"),
        releases=pl.DataFrame(
            {
                "outcome": ["released"] * 2,
                "version": ["v1.0.0", "v1.1.0"],
                "candidate": ["first", "drift-r1-1"],
            }
        ),
        split=pl.DataFrame({"frame_id": [cell.frame_id for cell in arriving[:2]], "role": ["train"] * 2}),
        decision=pl.concat([judged, *more]),
        figures={
            "season2": figures_of(spec, 9, 5),
            "season3": figures_of(spec, 1, 70),
            "poly": figures_of(spec, 8, 3),
            "mono": figures_of(spec, 9, 4),
        },
    )


def what_is_told(spec: Spec, first: Outcome, second: Inspected) -> Told:
    """The small story, as it is told: season 2 under v1.0.0."""
    truth = {frame_id: cell.defective for frame_id, cell in second.truth.items()}
    return Told(
        figures={"season2": verdict_figures(second.season(2), truth, spec.evaluation)},
        estimates={2: [Estimate("overkill", 0.1, 0.0, 0.4, "met", 1, 0.0)]},
        decisions={"first": first.decision},
        asked=second.asked,
        raw=first.raw,
        prepared=first.prepared,
        inspections=second.inspections,
        outbox=second.inspections.select("capture_id", seconds=pl.int_range(pl.len()).cast(pl.Float64)),
        queue=second.queue,
        releases=first.releases,
        requests=pl.DataFrame({"reason": ["first_release"]}),
        alarms=alarm("open", "d4", "d5").clear(),
    )


def _reason() -> pl.Expr:
    asked = pl.when(pl.col("verdict") == "REVIEW").then("reason").otherwise(pl.lit("random_audit"))
    return asked.alias("reason")


def _capture(cell: Cell, delivery: str, season: int) -> dict[str, Any]:
    return {
        "capture_id": f"capture-{part_name(cell)}-{season}",
        "part": part_name(cell),
        "group": f"m{cell.module:02d}",
        "delivery": delivery,
        "captured_at": opening(season) + timedelta(seconds=cell.position),
        "frame_id": cell.frame_id,
        "raw_path": f"raw_frames/{delivery}/{cell.frame_id}.png",
        "verdict": "REVIEW",
        "audit": False,
        "review_probability": 1.0,
        "decided_at": opening(season) + timedelta(hours=1),
    }


def _undecided(cell: Cell) -> dict[str, Any]:
    return {**_capture(cell, "d1", 1), "reason": "no_release", "audit": cell.position == 0}


def decided(cell: Cell, score: float | None, delivery: str = "d2", season: int = 2) -> dict[str, Any]:
    """The row of inspections that v1.0.0 gave a cell with this defect score; None for a rejected frame."""
    seen = {
        **_capture(cell, delivery, season),
        "release": "v1.0.0",
        "model": "cnn",
        "lower": LOWER,
        "upper": UPPER,
    }
    if score is None:
        return {**seen, "reason": "frame_rejected"}
    said = {0.1: ("PASS", "below_lower"), 0.2: ("PASS", "below_lower"), 0.9: ("FAIL", "above_upper")}
    verdict, reason = said.get(score, ("REVIEW", "low_confidence"))
    return {
        **seen,
        "verdict": verdict,
        "reason": reason,
        "defect_score": score,
        "classes": ["sound", "defective"],
        "scores": [1 - score, score],
        "weights_sha256": sha256(HEAD),
        "audit": score == 0.2,
        "review_probability": 1.0 if verdict == "REVIEW" else 0.1,
    }
