"""What people read of the worklist, against a lake and a folder that a test fills by hand."""

import io
import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from by_hand import publish_by_hand
from make_story import cells
from rich.console import Console

from cv_assets.drift.schema import DriftMetrics
from cv_assets.spec.schema import Spec
from demo.api import Dagster, Run
from demo.cast import Cast
from demo.modules import Cell
from demo.people import WORKLIST, Asked, names_of, read_asked, wait_for_answers
from demo.plant import Task, part_name
from demo.play import Play
from demo.processes import Processes
from demo.screen import Screen
from demo.seasons import opening
from demo.server import Server
from demo.watch import StoryError, Watch
from resources.deployments import Deployment
from resources.tables import Tables, parquet, table_path


@dataclass(frozen=True)
class Idle(Dagster):
    """A Dagster in which nothing runs."""

    def runs(self) -> list[Run]:
        return []

    def last_look(self, sensor: str) -> str:
        return "nothing changed"


@pytest.fixture
def play(spec: Spec, tables: Tables, deployment: Deployment, tmp_path: Path) -> Play:
    """Two cells of m1 and two of m2 were delivered, and nobody answers for longer than a second."""
    url = "http://127.0.0.1:1"
    server = Server(url, tmp_path, Processes(tmp_path, tmp_path / "pids.json"))
    screen = Screen(Console(file=io.StringIO(), width=200))
    watch = Watch(server, Idle(url, "cv_assets"), tables, screen, patience_seconds=1)
    delivered = [*cells(tmp_path, 1, 0.0, 1.0), *cells(tmp_path, 2, 0.0, 1.0)]
    files = {f"{part_name(cell)}.png": cell for cell in delivered}
    return Play(watch, spec, deployment.data_dir, Cast((), (), (), (), (), (), ()), files)


def inspect(play: Play, verdicts: dict[str, str], drifted: tuple[str, ...] = ()) -> None:
    """Season 3's verdicts by part, each module a delivery that was captured an hour after the other."""
    rows, metrics = [], []
    for cell in play.files.values():
        at = opening(3) + timedelta(hours=cell.module)
        said = {"verdict": verdicts[part_name(cell)], "audit": False, "frame_id": cell.frame_id}
        rows.append({**said, "part": part_name(cell), "delivery": f"d{cell.module}", "captured_at": at})
        metrics.append(novelty(f"d{cell.module}", cell.module, drifted))
    tables = {
        table_path("inspections", "d"): parquet(pl.DataFrame(rows)),
        table_path("drift_metrics", "d"): parquet(
            pl.DataFrame(metrics, schema=DriftMetrics.create_empty().schema).unique("delivery")
        ),
        table_path("review_queue"): parquet(pl.DataFrame({"state": ["open"]})),
    }
    publish_by_hand(play.watch.tables.lake, tables)


def novelty(delivery: str, hour: int, drifted: tuple[str, ...]) -> dict[str, object]:
    at = opening(3) + timedelta(hours=hour)
    return {
        "delivery": delivery, "statistic": "novelty", "role": "alarms", "station": "line1", "release_number": 1,
        "captured_from": at, "captured_to": at, "frames": 60, "rank": 1.0, "measured_at": at, "why": "",
        "verdict": "drifted" if delivery in drifted else "ok",
    }  # fmt: skip


def ask(play: Play, *cells: Cell) -> None:
    folder = play.data_dir / play.spec.review.folder
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    tasks = []
    for cell in cells:
        name = f"{cell.frame_id}.png"
        (folder / "pictures" / name).write_bytes(cell.image.read_bytes())
        image = f"/data/local-files/?d=pictures/{name}"
        tasks.append({"data": {"part": part_name(cell), "path": name, "reason": "drifted", "image": image}})
    (folder / WORKLIST).write_text(json.dumps(tasks), "utf-8")


def test_people_wait_until_every_doubtful_cell_is_on_the_worklist(play: Play):
    doubtful = next(iter(play.files.values()))
    inspect(play, {part_name(cell): "REVIEW" if cell is doubtful else "PASS" for cell in play.cells})
    with pytest.raises(StoryError, match="the worklist to hold every cell that people must see"):
        read_asked(play, 3)
    ask(play, doubtful)
    asked = read_asked(play, 3)
    assert [task.part for task in asked.tasks] == ["m01c000"]
    assert asked.misshown == ()
    assert dict(names_of(play, asked)) == {doubtful: f"{doubtful.frame_id}.png"}


def test_of_drifted_deliveries_in_a_row_every_cell_must_be_there(play: Play):
    inspect(play, dict.fromkeys(map(part_name, play.cells), "PASS"), drifted=("d1", "d2"))
    first, *others = play.cells
    ask(play, *others)
    with pytest.raises(StoryError, match="every cell that people must see"):
        read_asked(play, 3)
    ask(play, first, *others)
    assert len(read_asked(play, 3).tasks) == 4


def test_who_was_asked_before_is_not_waited_for(play: Play):
    inspect(play, dict.fromkeys(map(part_name, play.cells), "REVIEW"))
    first, *others = play.cells
    ask(play, *others)
    before = Asked(2, (Task(part_name(first), "x.png", "low_confidence", Path()),), (), pl.DataFrame())
    assert len(read_asked(play, 3, [before]).tasks) == 3


def test_a_task_about_a_part_that_nobody_made_ends_the_story(play: Play):
    stranger = Asked(3, (Task("m99c000", "x.png", "drifted", Path()),), (), pl.DataFrame())
    with pytest.raises(StoryError, match="m99c000"):
        names_of(play, stranger)


def test_answers_are_waited_for_until_the_benchmark_holds_what_was_verified(play: Play):
    cell = next(iter(play.files.values()))
    play.verify("golden-3", {cell: "x.png"}, "golden")
    answered = {table_path("review_queue"): parquet(pl.DataFrame({"state": ["answered"]}))}
    nothing = {table_path("benchmark_frames"): parquet(pl.DataFrame({"frame_id": ["0" * 64]}))}
    publish_by_hand(play.watch.tables.lake, answered | nothing)
    with pytest.raises(StoryError, match="every answer to be in the queue"):
        wait_for_answers(play)
    held = {table_path("benchmark_frames"): parquet(pl.DataFrame({"frame_id": [cell.frame_id]}))}
    publish_by_hand(play.watch.tables.lake, held)
    wait_for_answers(play)
