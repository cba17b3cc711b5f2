"""The plant's side of the story, against a stand-in for the product that publishes what lies in the inbox."""

import io
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest
from by_hand import publish_by_hand
from make_story import cells
from rich.console import Console

from cv_assets.spec.schema import Spec
from demo.api import Dagster, Run
from demo.cast import Cast
from demo.modules import Module
from demo.play import Play
from demo.processes import Processes
from demo.screen import Screen
from demo.seasons import OPENING, opening
from demo.server import Server
from demo.watch import Watch
from resources.deployments import Deployment
from resources.tables import Tables, parquet, table_path


@dataclass(frozen=True)
class Product(Dagster):
    """Whenever somebody looks, it inspects one module from the inbox and publishes what the plant looks at.

    `waited` are the numbers of files that it found in the inbox.
    """

    inbox: Path = Path()
    tables: Tables | None = None
    waited: list[int] = field(default_factory=list)

    def runs(self) -> list[Run]:
        files = sorted(file.name for file in self.inbox.glob("*.png"))
        self.waited.append(len(files))
        if files:
            station, group = (files[0].split("_")[place] for place in (0, 4))
            self._publish(f"{station}-{group}", [name for name in files if f"_{group}_" in name])
        return []

    def _publish(self, delivery: str, names: list[str]) -> None:
        assert self.tables is not None
        for name in names:
            (self.inbox / name).unlink()
        rows = {
            "raw_frames": {"file_name": names},
            "prepared_frames": {
                "accepted": [False] + [True] * (len(names) - 1),
                "reason": ["low_focus"] * len(names),
            },
            "inspections": {"verdict": ["REVIEW"] * len(names)},
            "outbox": {"part": names},
            "drift_metrics": {
                "statistic": ["novelty"],
                "verdict": ["drifted" if "m02" in delivery else "ok"],
                "psi": [4.02],
                "psi_level": [2.44],
            },
        }
        tables = {table_path(table, delivery): parquet(pl.DataFrame(one)) for table, one in rows.items()}
        publish_by_hand(self.tables.lake, tables)


@pytest.fixture
def modules(tmp_path: Path) -> list[Module]:
    return [Module(number, "mono", tuple(cells(tmp_path, number, 0.0, 1.0))) for number in (1, 2, 3)]


@pytest.fixture
def play(spec: Spec, tables: Tables, deployment: Deployment, tmp_path: Path) -> Play:
    inbox = deployment.data_dir / spec.acquisition.inbox
    product = Product("http://127.0.0.1:1", "cv_assets", inbox, tables)
    server = Server(product.url, tmp_path, Processes(tmp_path, tmp_path / "pids.json"))
    screen = Screen(Console(file=io.StringIO(), width=200))
    nobody = Cast((), (), (), (), (), (), ())
    return Play(Watch(server, product, tables, screen), spec, deployment.data_dir, nobody)


def told(play: Play) -> str:
    return play.screen.console.file.getvalue()


def test_cameras_pause_while_enough_modules_wait_and_every_delivery_is_told_once(
    play: Play, modules: list[Module]
):
    play.deliver(play.line(modules, OPENING), at_once=2)
    assert play.watch.dagster.waited == [0, 4, 4, 2]
    assert len(play.published) == 6
    assert told(play).count("frames, 1 of them rejected (low_focus); REVIEW 2") == 3
    assert told(play).count("imaged: ") == 2
    assert told(play).count("drifted: novelty PSI 4.0, level 2.4") == 1


def test_what_acquisition_called_a_cell_is_remembered(play: Play, modules: list[Module]):
    play.deliver(play.line(modules[:1], OPENING), at_once=1)
    first, second = modules[0].cells
    assert play.names(modules[:1]) == {
        first: "line1_cam1_20260302T060000_mono_m01of2_m01c000.png",
        second: "line1_cam1_20260302T060010_mono_m01of2_m01c001.png",
    }
    assert play.truth == {first.frame_id: False, second.frame_id: True}


def test_a_cell_that_is_imaged_again_goes_by_its_newest_name(play: Play, modules: list[Module]):
    play.deliver(play.line(modules[:1], OPENING), at_once=1)
    play.deliver(play.line(modules[:1], opening(4), "line2"), at_once=1)
    assert len(play.files) == 4
    assert len(play.cells) == 2
    assert all(name.startswith("line2_cam1_20260323") for name in play.names(modules).values())


def test_who_was_voted_on_and_what_was_verified_is_remembered(play: Play, modules: list[Module]):
    first, second = modules[0].cells
    play.vote("review-2", {first: "x.png"})
    play.verify("challenge-2", {second: "y.png"}, "challenge")
    assert play.voted == {first}
    assert play.verified == {second: "challenge"}
    assert sorted(file.name for file in play.exports.iterdir()) == ["challenge-2.json", "review-2.json"]
