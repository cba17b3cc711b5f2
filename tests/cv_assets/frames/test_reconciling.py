import hashlib
import json
import os
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from by_hand import publish_by_hand

from cv_assets.frames.assets import inbox_reconciliation, raw_frames
from cv_assets.frames.deliveries import Manifest
from cv_assets.frames.inbox import Inbox
from cv_assets.frames.reconciling import as_rows, bring_back, reconcile
from cv_assets.spec.acquisition import Acquisition
from cv_assets.spec.assets import project_spec
from cv_assets.spec.load import load_spec, to_table
from resources.tables import parquet, table_path

NOW = datetime.now(UTC)


class Plant:
    def __init__(self, root):
        self.of = Acquisition(file_name=r"(?P<part>\w+)\.png", close={"files": 1})
        self.box = Inbox(root / "inbox", root / "deliveries", root / "inbox.json")
        self.box.folder.mkdir()
        (self.box.state / "received").mkdir(parents=True)

    def write(self, file, content=b"one"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def claim(self, key, *names, finished=False):
        """A manifest of these files, wherever they lie."""
        files = {name: {"size": 3, "modified_ns": 0, "changed_ns": 0, "inode": 1} for name in names}
        manifest = {
            **asdict(Manifest(key, None, None, "1 file is there", NOW.isoformat(), {})),
            "files": files,
        }
        folder = self.box.state / "received" if finished else self.box.state
        (folder / f"{key}.json").write_text(json.dumps({**manifest, "receipts": {}}))

    def found(self, published=(), held=(), later=timedelta(0)):
        held = {hashlib.sha256(content).hexdigest() for content in held}
        found = reconcile(
            self.box, self.of, self.box.keys_received(), published, held.__contains__, NOW + later
        )
        return [(one.place, one.delivery, one.name, one.found) for one in found]


@pytest.fixture
def plant(tmp_path):
    return Plant(tmp_path)


def test_what_is_under_way_was_put_away_or_came_today_is_no_finding(plant):
    plant.write(plant.box.folder / "new.png")
    plant.write(plant.box.folder / "claimed.png")
    plant.claim("d2", "claimed.png")
    plant.claim("d1", "old.png", finished=True)
    plant.write(plant.box.taken / "d1" / "old.png")
    plant.write(plant.box.taken / "d1" / "0123456789ab-old.png")
    assert plant.found(published={"d1"}) == []


def test_a_file_that_no_delivery_claims_for_a_day_waits(plant):
    plant.write(plant.box.folder / "a.png")
    plant.write(plant.box.folder / "a.png.part")
    assert plant.found(later=timedelta(days=2)) == [("inbox", None, "a.png", "waits")]


def test_a_file_below_taken_that_no_manifest_claims_is_a_copy_when_the_lake_has_it_and_astray_when_not(plant):
    plant.write(plant.box.taken / "d1" / "copy.png", b"held")
    plant.write(plant.box.taken / "d1" / "lost.png", b"not held")
    assert plant.found(held=[b"held"]) == [
        ("taken", "d1", "copy.png", "copy"),
        ("taken", "d1", "lost.png", "astray"),
    ]


def test_only_what_is_astray_goes_back_and_replaces_nothing(plant):
    for name in ("copy.png", "lost.png", "there.png"):
        plant.write(plant.box.taken / "d1" / name, name.encode())
    plant.write(plant.box.folder / "there.png", b"came meanwhile")
    held = hashlib.sha256(b"copy.png").hexdigest()
    found = list(reconcile(plant.box, plant.of, plant.box.keys_received(), (), held.__eq__, NOW))
    assert [one.name for one in found if bring_back(plant.box, one)] == ["lost.png"]
    assert sorted(file.name for file in plant.box.folder.iterdir()) == ["lost.png", "there.png"]
    assert (plant.box.folder / "there.png").read_bytes() == b"came meanwhile"


def test_a_claimed_file_that_is_gone_is_missing_until_its_delivery_is_published(plant):
    plant.claim("d1", "a.png")
    assert plant.found() == [("inbox", "d1", "a.png", "missing")]
    assert plant.found(published={"d1"}) == []


def test_a_finished_delivery_that_an_older_lake_lacks_is_told_file_by_file(plant):
    plant.claim("d1", "a.png", finished=True)
    plant.write(plant.box.taken / "d1" / "a.png")
    (finding,) = reconcile(plant.box, plant.of, plant.box.keys_received(), (), lambda _: False, NOW)
    assert (finding.name, finding.found) == ("a.png", "unpublished")
    assert "Move deliveries/received/d1.json to deliveries/" in finding.do


def test_a_name_that_is_no_text_can_be_told(plant):
    plant.write(plant.box.taken / "d1" / os.fsdecode(b"caf\xe9.png"))
    found = list(reconcile(plant.box, plant.of, plant.box.keys_received(), (), lambda _: False, NOW))
    assert as_rows(found, found)["file_name"].to_list() == ["caf\\xe9.png"]


def test_the_table_says_what_was_brought_back(materialize, deployment, tables):
    # By hand: the asset would ask timm about the spec's models.
    spec = parquet(to_table(load_spec(deployment.spec_file)))
    publish_by_hand(tables.lake, {table_path("project_spec"): spec})
    lost = deployment.data_dir / "taken" / "d1" / "lost.png"
    lost.parent.mkdir(parents=True)
    (deployment.data_dir / "inbox").mkdir()
    lost.write_bytes(b"one")
    run = materialize(
        [project_spec, raw_frames, inbox_reconciliation],
        selection=[inbox_reconciliation],
        run_config={"ops": {"inbox_reconciliation": {"config": {"bring_back": True}}}},
    )
    assert tables.head().table("inbox_reconciliation").select("found", "do").rows() == [
        ("astray", "It was put back into the inbox.")
    ]
    check = next(one for one in run.get_asset_check_evaluations() if "accounted" in one.check_name)
    assert (check.passed, check.severity, check.description) == (
        False,
        dg.AssetCheckSeverity.WARN,
        "1 astray",
    )
    assert (deployment.data_dir / "inbox" / "lost.png").is_file()
