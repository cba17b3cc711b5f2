"""Makes a small sound story: what a plant knows and a product left after two seasons, without playing them."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from cv_assets.inspection.outbox import verdict_file
from cv_assets.inspection.schema import Inspections
from cv_assets.spec.schema import Spec
from demo.claims import Outcome
from demo.modules import Cell
from demo.plant import ANNOTATORS, VERIFIER, Task, part_name
from demo.verdict_claims import CHAIN, Inspected

HEAD, BACKBONE = b"head", b"backbone"
TRAIN, GOLDEN, LATER = 1, 2, 3
NOON = datetime(2026, 3, 9, 12, tzinfo=UTC)
LOWER, UPPER = 0.3, 0.7
SCORES = (0.1, 0.2, 0.5, 0.9, None)
"""Defect scores of the later cells: two pass (the second is audited), one is unsure, one fails, one is rejected."""

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
            "metric": one.metric,
            "set": one.set,
            "slice": one.slice,
            "measured": 0.5,
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
        raw=raw,
        prepared=raw.select("capture_id", accepted=pl.lit(True), reason=pl.lit("ok")),
        labels=pl.DataFrame({"frame_id": frames[:2], "resolution": ["unanimous", "majority"]}),
        benchmark=pl.DataFrame({"frame_id": frames[2:], "label": ["sound", "defective"]}),
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
        requests=pl.DataFrame({"reason": ["first_release"]}),
    )


def second_season(spec: Spec, folder: Path) -> Inspected:
    """The cells of season 1, undecided then and answered since, and five of a later module, seen under v1.0.0."""
    early = [*cells(folder, TRAIN, 0.0, 1.0), *cells(folder, GOLDEN, 0.0, 1.0)]
    later = cells(folder, LATER, 0.0, 1 / 3, 2 / 3, 1.0, 0.0)
    rows = [_undecided(cell) for cell in early]
    rows += [_decided(cell, score) for cell, score in zip(later, SCORES, strict=True)]
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
    asked = queue.filter(pl.col("release").is_not_null()).select("part", "path", "reason")
    deliveries = {str(key): part for (key,), part in inspections.group_by("delivery")}
    return Inspected(
        spec=spec,
        truth=truth,
        later=frozenset({LATER}),
        golden=frozenset({GOLDEN}),
        raw=raw,
        inspections=inspections,
        release={"version": "v1.0.0", "model": "cnn", "lower": LOWER, "upper": UPPER},
        weights_sha256=sha256(HEAD),
        outbox=inspections.select("capture_id", seconds=pl.int_range(pl.len()).cast(pl.Float64)),
        verdict_files={
            key: json.loads(verdict_file(part, raw, key))["verdicts"] for key, part in deliveries.items()
        },
        asked=tuple(Task(*row, Path()) for row in asked.iter_rows()),
        misshown=(),
        queue=queue,
        explained="m03c003",
        explanation=pl.DataFrame({"link": sorted(CHAIN - {"review"})}),
        dangling=(),
        before=inspections,
        replay=inspections.filter(pl.col("defect_score").is_not_null()).select(
            "capture_id", "verdict", "defect_score", changed=pl.col("verdict") == "REVIEW"
        ),
    )


def _reason() -> pl.Expr:
    asked = pl.when(pl.col("verdict") == "REVIEW").then("reason").otherwise(pl.lit("random_audit"))
    return asked.alias("reason")


def _capture(cell: Cell, delivery: str) -> dict[str, Any]:
    return {
        "capture_id": f"capture-{part_name(cell)}",
        "part": part_name(cell),
        "group": f"m{cell.module:02d}",
        "delivery": delivery,
        "captured_at": NOON + timedelta(seconds=cell.position),
        "frame_id": cell.frame_id,
        "raw_path": f"raw_frames/{delivery}/{cell.frame_id}.png",
        "verdict": "REVIEW",
        "audit": False,
        "review_probability": 1.0,
        "decided_at": NOON + timedelta(hours=1),
    }


def _undecided(cell: Cell) -> dict[str, Any]:
    return {**_capture(cell, "d1"), "reason": "no_release", "audit": cell.position == 0}


def _decided(cell: Cell, score: float | None) -> dict[str, Any]:
    seen = {**_capture(cell, "d2"), "release": "v1.0.0", "model": "cnn", "lower": LOWER, "upper": UPPER}
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
