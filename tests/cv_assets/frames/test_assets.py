import hashlib
import shutil

import dagster as dg
import make_frames
import numpy as np
import polars as pl
import pytest
from by_hand import edit_spec, publish_by_hand
from run_results import checks, failure, metadata

from cv_assets.frames.assets import inbox, prepared_frames, raw_frames
from cv_assets.frames.preparing import first_frames
from cv_assets.spec.assets import project_spec
from cv_assets.spec.load import load_spec, to_table
from resources.partitions import deliveries
from resources.pictures import as_markdown, montage
from resources.tables import parquet, table_path

CLOCK = 1_800_000_000.0


def name(part, group="m01", of=3):
    return f"line1_cam1_20260302T0815{part:02d}_mono_{group}of{of}_{group}c{part:03d}.png"


def cell(seed=0):
    return make_frames.cell(seed, size=(300, 300))


def publish_spec(deployment, tables):
    """Put the spec file into the lake without a look at its architectures, which takes seconds."""
    published = parquet(to_table(load_spec(deployment.spec_file)))
    publish_by_hand(tables.lake, {table_path("project_spec"): published})


@pytest.fixture
def acquisition(deployment, spec, tables):
    publish_spec(deployment, tables)
    (deployment.data_dir / "inbox").mkdir()
    return spec.acquisition


@pytest.fixture
def deliver(deployment, acquisition, instance):
    """`deliver({file name: bytes})`: drop files and look at the inbox until they are delivered; the delivery's key."""

    def drop(files):
        box = inbox(deployment, acquisition)
        for file, content in files.items():
            (box.folder / file).write_bytes(content)
        for look in range(acquisition.settle_ticks):
            closed = box.look(acquisition, lambda key: None, CLOCK + look).closed
        (delivery,) = closed
        instance.add_dynamic_partitions(deliveries.name, [delivery.key])
        return delivery.key

    return drop


@pytest.fixture
def take_in(materialize):
    """`take_in(key)`: materialize both tables of a delivery."""

    def run(key, **arguments):
        return materialize(
            [project_spec, raw_frames, prepared_frames],
            selection=[raw_frames, prepared_frames],
            partition_key=key,
            **arguments,
        )

    return run


def test_a_delivery_of_which_frames_were_let_go_is_made_again_without_them(deliver, take_in, tables):
    key = deliver({name(number): make_frames.png(cell(number)) for number in (1, 2, 3)})
    take_in(key)
    before = tables.head()
    raw, prepared = before.table("raw_frames", key), before.table("prepared_frames", key)
    path, *_ = raw.filter(part="m01c001")["path"]
    gone = pl.DataFrame({"path": [path], "rule": ["frames_days: 30"], "let_go_at": [raw["received_at"][0]]})
    gone = gone.with_columns(kind=pl.lit("raw frame"), belongs_to=pl.lit("d1"))
    tables.lake.create_branch("goes", before.commit)
    commit = tables.lake.commit("goes", {"tables/let_go.parquet": parquet(gone)}, "let go", {}, [path])
    tables.lake.merge(commit, "main", "let go", {})
    before.fetch(path).unlink()
    assert take_in(key).success
    head = tables.head()
    assert path not in head.lake.paths(head.commit)
    assert head.table("prepared_frames", key).sort("capture_id").equals(prepared.sort("capture_id"))


def test_every_file_of_a_delivery_is_a_row_whether_or_not_it_is_a_good_picture(deliver, take_in, tables):
    files = {
        name(1): make_frames.png(cell()),
        name(2): make_frames.png(make_frames.blurred(cell(1))),
        name(3): b"no image",
    }
    key = deliver(files)
    result = take_in(key)
    head = tables.head()
    raw, prepared = head.table("raw_frames", key), head.table("prepared_frames", key)
    assert raw.select("part", "width", "captured_at_source").rows() == [
        ("m01c001", 300, "file_name"),
        ("m01c002", 300, "file_name"),
        ("m01c003", None, "file_name"),
    ]
    assert [head.read(path) for path in raw["path"]] == list(files.values())
    assert prepared["reason"].to_list() == ["ok", "low_focus", "unreadable"]
    assert prepared["capture_id"].to_list() == raw["capture_id"].to_list()
    assert head.read(prepared["path"][0]).startswith(b"\x89PNG")
    assert prepared["decoded"][0]["focus"] > prepared["bound"][1] == 4.5
    few = checks(result)["few_are_rejected"]
    assert not few.passed
    assert few.description == "2 of 3 rejected: low_focus 1, unreadable 1; at most 5% may be."
    assert checks(result)["captures_have_one_row"].passed
    assert {"accepted", "rejected", "focus", "reasons"} <= set(metadata(result, "prepared_frames"))
    assert "![first frames](data:image/jpeg;base64," in metadata(result, "raw_frames")["first frames"]


def test_hostile_files_are_rows_with_a_reason_and_their_bytes_stay_as_they_came(deliver, take_in, tables):
    private = make_frames.exif({271: "Basler", 315: "Jane Doe", 42033: "SN-1234", 34853: 8})
    files = {
        name(1, of=5).replace("cam1", "cam 'one'"): make_frames.png(cell())[:300],
        name(2, of=5).replace("cam1", 'cam "two"'): b"",
        name(3, of=5).replace("cam1", "..\\..\\cam"): b"a text that is called a picture",
        name(4, of=5).replace("cam1", "kamera-ä-日"): make_frames.png_that_claims(60_000, 60_000),
        name(5, of=5): make_frames.jpeg_with_exif(make_frames.jpeg(cell(5)), private),
    }
    key = deliver(files)
    result = take_in(key)
    head = tables.head()
    raw, prepared = head.table("raw_frames", key), head.table("prepared_frames", key)
    assert raw["file_name"].to_list() == list(files)
    assert [head.read(path) for path in raw["path"]] == list(files.values())
    assert raw["camera_metadata"].to_list() == [None] * 4 + ['{"make": "Basler"}']
    assert prepared.select("reason", "detail").rows() == [
        ("truncated", "after 300 bytes the file lacks its end (IEND)"),
        ("unreadable", "it is empty"),
        ("unreadable", "it is no PNG, JPEG, BMP or TIFF: it starts with b'a text t'"),
        ("too_large", "60000 x 60000 pixels"),
        ("ok", None),
    ]
    assert b"Jane Doe" not in head.read(prepared["path"][4])
    assert checks(result)["files_are_accounted_for"].description == "Of 5 claimed files: 5 taken."


def everything_below(folder):
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_nothing_private_is_kept_in_lake_tables_or_logs_when_the_spec_says_strip(
    deliver, take_in, tables, deployment, capfd
):
    edit_spec(deployment, "  after: move", "  metadata: strip\n  after: move")
    publish_spec(deployment, tables)
    secret = "Jane Doe SN-1234"  # noqa: S105
    private = make_frames.exif({271: secret, 274: 1, 315: secret, 42033: secret})
    photo = make_frames.jpeg_with_exif(make_frames.jpeg(cell(1)), private)
    files = {
        name(1, of=5): photo + secret.encode(),
        name(2, of=5): make_frames.png_with(make_frames.png(cell(2)), b"tEXt", f"Author\0{secret}".encode()),
        name(3, of=5): photo[:2000],
        name(4, of=5): secret.encode(),
        name(5, of=5): make_frames.tiff(cell(5)) + secret.encode(),
    }
    key = deliver(files)
    result = take_in(key)
    head = tables.head()
    raw, prepared = head.table("raw_frames", key), head.table("prepared_frames", key)
    stored = [head.read(path) for path in raw["path"]]
    assert [hashlib.sha256(content).hexdigest() for content in stored] == raw["frame_id"].to_list()
    assert [len(content) for content in stored] == raw["size_bytes"].to_list()
    assert raw["camera_metadata"].to_list() == [None] * 5
    assert prepared["reason"].to_list() == ["ok", "ok", *["unreadable"] * 3]
    assert [text.split("; ")[0] for text in prepared["detail"][2:]] == [
        "withheld: its metadata cannot be stripped, for it ends too early",
        "withheld: its metadata cannot be stripped, for it is no picture whose header can be read",
        "withheld: its metadata cannot be stripped, for it is a TIFF: have the camera write PNG, or let "
        "`acquisition.metadata` be `keep`",
    ]
    assert checks(result)["files_are_accounted_for"].description == "Of 5 claimed files: 5 taken."
    assert secret.encode() not in b"".join(stored)
    assert secret.encode() not in everything_below(deployment.data_dir / "lake")
    assert secret.encode() not in everything_below(deployment.cache_dir)
    assert secret not in str(raw.to_dicts()) + str(prepared.to_dicts())
    assert secret not in str(metadata(result, "raw_frames")) + str(metadata(result, "prepared_frames"))
    assert secret not in "".join(capfd.readouterr())

    take_in(key)
    volatile = ("arrived_at", "received_at")
    assert tables.head().table("raw_frames", key).drop(volatile).equals(raw.drop(volatile))


def test_a_setting_of_metadata_that_changed_refuses_to_read_a_delivery_another_way(
    deliver, take_in, tables, deployment
):
    private = make_frames.exif({315: "Jane Doe"})
    key = deliver({name(1, of=1): make_frames.jpeg_with_exif(make_frames.jpeg(cell()), private)})
    take_in(key)
    edit_spec(deployment, "  after: move", "  metadata: strip\n  after: move")
    publish_spec(deployment, tables)
    said = checks(take_in(key, raise_on_error=False))["captures_stay"]
    assert not said.passed
    assert "`metadata` of the spec changed" in said.description
    assert f"frame_id {tables.head().table('raw_frames', key)['frame_id'][0]} → " in said.description


def test_equal_pictures_have_one_prepared_file_though_their_files_differ(deliver, take_in, tables):
    import cv2

    small, large = (
        cv2.imencode(".png", cell(), [cv2.IMWRITE_PNG_COMPRESSION, level])[1].tobytes() for level in (9, 0)
    )
    assert small != large
    key = deliver({name(1): small, name(2): large, name(3): make_frames.png(cell(7))})
    take_in(key)
    prepared = tables.head().table("prepared_frames", key)
    assert prepared["frame_id"].n_unique() == 3
    assert prepared["path"][0] == prepared["path"][1] != prepared["path"][2]
    assert hashlib.sha256(tables.head().read(prepared["path"][0])).hexdigest() in prepared["path"][0]


def test_a_delivery_in_which_every_frame_is_rejected_is_published(deliver, take_in, tables):
    key = deliver({name(part): b"" for part in (1, 2, 3)})
    result = take_in(key)
    assert tables.head().table("prepared_frames", key)["accepted"].to_list() == [False] * 3
    assert not checks(result)["frames_differ"].passed
    assert "accepted frames" not in metadata(result, "prepared_frames")
    assert "first frames" not in metadata(result, "raw_frames")


def test_the_first_pictures_are_shown_by_file_name_and_stay_small(tmp_path):
    rng = np.random.default_rng(0)
    noise = [make_frames.png(rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)) for _ in range(20)]
    rows = pl.DataFrame(
        {"path": [f"p{n:02d}" for n in range(21)], "file_name": [f"f{n:02d}" for n in range(21)]}
    )
    for path, content in zip(rows["path"], [b"no image", *noise], strict=True):
        (tmp_path / path).write_bytes(content)
    shown = first_frames(rows, tmp_path.joinpath, max_pixels=10**6)
    assert shown.captions == [f"f{n:02d}" for n in range(1, 13)]
    assert len(as_markdown(montage(shown.images, shown.captions), "first frames")) < 150_000


def test_a_file_with_an_unknown_name_is_kept_and_rejected(take_in, tables, acquisition, deployment, instance):
    (deployment.data_dir / "inbox" / "holiday.png").write_bytes(make_frames.png(cell()))
    box = inbox(deployment, acquisition)
    box.look(acquisition, lambda key: None, CLOCK)
    box.look(acquisition, lambda key: None, CLOCK + 1)
    later = CLOCK + acquisition.close.minutes * 60 + 1
    (delivery,) = box.look(acquisition, lambda key: None, later).closed
    instance.add_dynamic_partitions(deliveries.name, [delivery.key])
    take_in(delivery.key)
    (row,) = tables.head().table("prepared_frames", delivery.key).iter_rows(named=True)
    assert (row["reason"], row["detail"]) == ("unknown_name", "the pattern does not fit 'holiday.png'")


def test_a_file_that_vanished_before_it_was_read_is_said_to_be_gone(deliver, take_in, tables, deployment):
    key = deliver({name(part): make_frames.png(cell(part)) for part in (1, 2, 3)})
    (deployment.data_dir / "inbox" / name(2)).unlink()
    result = take_in(key)
    assert tables.head().table("raw_frames", key)["part"].to_list() == ["m01c001", "m01c003"]
    accounts = checks(result)["files_are_accounted_for"]
    assert (accounts.passed, accounts.description) == (True, "Of 3 claimed files: 2 taken, 1 vanished.")
    (gone,) = metadata(result, "raw_frames")["not taken"].records
    assert gone.data == {"file": name(2), "because": "vanished"}


def test_a_capture_that_was_delivered_before_gets_no_second_row(deliver, take_in, tables, deployment):
    first = deliver({name(1, of=1): make_frames.png(cell())})
    take_in(first)
    shutil.rmtree(deployment.data_dir / "inbox")
    (deployment.data_dir / "inbox").mkdir()
    shutil.rmtree(deployment.data_dir / "deliveries")
    second = deliver({name(1, of=1): make_frames.png(cell())})
    result = take_in(second)
    assert second != first
    assert tables.head().table("raw_frames", second).is_empty()
    assert tables.head().table("prepared_frames", second).is_empty()
    assert all(check.passed for check in checks(result).values())
    assert checks(result)["files_are_accounted_for"].description == "Of 1 claimed files: 1 repeated."


def test_the_same_bytes_of_two_captures_are_two_rows_and_a_warning(deliver, take_in, tables):
    key = deliver({name(part): make_frames.png(cell()) for part in (1, 2, 3)})
    result = take_in(key)
    assert tables.head().table("raw_frames", key)["frame_id"].n_unique() == 1
    assert tables.head().table("prepared_frames", key)["path"].n_unique() == 1
    assert not checks(result)["frames_differ"].passed
    assert result.success


def test_taking_a_delivery_in_again_publishes_nothing_new(deliver, take_in, tables):
    key = deliver({name(1, of=1): make_frames.png(cell())})
    take_in(key)
    before = tables.head().commit
    take_in(key)
    assert tables.head().commit == before


def test_what_was_taken_in_stays_as_it_was_read_when_the_pattern_of_file_names_changes(
    deliver, take_in, tables, deployment
):
    key = deliver({name(part): make_frames.png(cell(part)) for part in (1, 2, 3)})
    assert checks(take_in(key))["captures_stay"].passed
    before = tables.head().table("raw_frames", key)
    edit_spec(deployment, r"(?P<part>[^_.]+)\.png", r"(?P<part>[^_]+\.png)")
    publish_spec(deployment, tables)
    result = take_in(key, raise_on_error=False)
    said = checks(result)["captures_stay"]
    assert "raw_frames is not published: it failed captures_stay" in failure(result)
    assert said.description == (
        f"3 of 3 published captures would be others, such as {name(1)}: part m01c001 → m01c001.png. "
        "`acquisition.file_name`, `time_format` or `metadata` of the spec changed. What was taken in stays as it was "
        "read: nothing has to be done, and new deliveries are read the new way. To materialize this one again, put "
        "the earlier setting back."
    )
    assert tables.head().table("raw_frames", key).equals(before)


def test_a_partition_without_a_manifest_says_where_deliveries_come_from(acquisition, take_in, instance):
    instance.add_dynamic_partitions(deliveries.name, ["line1-m99-000000"])
    with pytest.raises(dg.Failure, match="no manifest of delivery line1-m99-000000"):
        take_in("line1-m99-000000")


def test_nothing_is_left_of_the_scratch_folder(deliver, take_in, deployment):
    take_in(deliver({name(1, of=1): make_frames.png(cell())}))
    assert list(deployment.cache_dir.glob("frames-*")) == []


def test_the_statistics_of_accepted_frames_are_those_of_the_picture_that_was_published(
    deliver, take_in, tables
):
    from cv_assets.frames.preparation import decode, statistics

    key = deliver({name(1, of=1): make_frames.png(cell())})
    take_in(key)
    (row,) = tables.head().table("prepared_frames", key).iter_rows(named=True)
    published = decode(tables.head().read(row["path"]), max_pixels=10**6)
    assert row["prepared"] == pytest.approx(statistics(published))
    assert isinstance(tables.head().table("prepared_frames", key), pl.DataFrame)


def test_a_delivery_that_cannot_be_read_says_so_in_words(deliver, take_in, deployment):
    key = deliver({name(1, of=1): make_frames.png(cell())})
    (deployment.data_dir / "inbox").rename(deployment.data_dir / "unmounted")
    failed = take_in(key, raise_on_error=False)
    said = failed.failure_data_for_node("raw_frames").user_failure_data.description
    assert said.startswith(f"{key} cannot be taken in now: the inbox ")
