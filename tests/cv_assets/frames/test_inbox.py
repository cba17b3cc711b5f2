import hashlib
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import make_frames
import polars as pl
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cv_assets.frames.deliveries import Known, Receipt, Sight, is_takeable, window
from cv_assets.frames.files import Identity
from cv_assets.frames.inbox import Inbox, Published, _memory, read_receipts
from cv_assets.frames.receiving import receive
from cv_assets.frames.schema import RawFrames
from cv_assets.spec.acquisition import Acquisition

NOW = 1_800_000_000.0


def acquisition(**values):
    return Acquisition(**{"file_name": r"(?P<part>\w+)\.(png|jpg|bin)", "close": {"files": 1}, **values})


class Line:
    """An inbox, and a lake that is a dictionary: what the sensor and the job do, without Dagster."""

    def __init__(self, root: Path, of: Acquisition):
        self.root, self.of, self.now = root, of, NOW
        self.box = Inbox(root / "inbox", root / "deliveries", root / "inbox.json")
        self.box.folder.mkdir(parents=True)
        self.box.state.mkdir()
        self.lake: dict[str, tuple[pl.DataFrame, dict[str, Receipt]]] = {}
        self.finished: set[str] = set()

    def drop(self, name, content):
        (self.box.folder / name).write_bytes(content)

    def tick(self, times=1):
        """Look every five seconds; what is returned says all that closed meanwhile."""
        closed = ()
        for _ in range(times):
            self.now += 5
            look = self.box.look(self.of, self.published, self.now)
            closed += look.closed
        return replace(look, closed=closed)

    def published(self, key):
        if key not in self.lake:
            return None
        receipts = {name: asdict(receipt) for name, receipt in self.lake[key][1].items()}
        return Published(read_receipts(json.loads(json.dumps(receipts))), finished=key in self.finished)

    def read(self, key):
        """What a run reads; published only by `publish`."""
        elsewhere = [
            row for other, (rows, _) in self.lake.items() if other != key for row in rows["capture_id"]
        ]
        with tempfile.TemporaryDirectory() as folder:
            return receive(
                self.box,
                self.box.manifest(key),
                acquisition=self.of,
                elsewhere=set(elsewhere),
                published=self.lake[key][0] if key in self.lake else RawFrames.create_empty(),
                received_at=datetime.fromtimestamp(self.now, UTC),
                folder=Path(folder),
            )

    def publish(self, key, received=None):
        received = received or self.read(key)
        self.lake[key] = (received.rows, dict(received.receipts))
        self.finished.add(key)
        return received

    def run_all(self):
        for manifest in self.box.under_way():
            if manifest.key not in self.lake:
                self.publish(manifest.key)

    def captures(self):
        return [
            row for rows, _ in self.lake.values() for row in rows.select("file_name", "frame_id").iter_rows()
        ]

    def names(self):
        return sorted(name for name, _ in self.captures())

    def inbox(self):
        return sorted(file.name for file in self.box.folder.iterdir())

    def taken(self):
        return sorted(file.name for file in self.box.taken.rglob("*") if file.is_file())


@pytest.fixture
def line(tmp_path):
    return Line(tmp_path, acquisition())


@pytest.fixture
def keeping(tmp_path):
    return Line(tmp_path, acquisition(after="keep"))


def test_a_file_settles_is_delivered_published_and_put_away(line):
    line.drop("a.png", b"one")
    assert line.tick().closed == ()
    (delivery,) = line.tick().closed
    assert [one.key for one in line.tick().under_way] == [delivery.key]
    assert line.inbox() == ["a.png"]
    line.publish(delivery.key)
    look = line.tick()
    assert (look.put_away, look.under_way) == (1, ())
    assert (line.names(), line.inbox(), line.taken()) == (["a.png"], [], ["a.png"])
    assert (line.box.taken / delivery.key / "a.png").read_bytes() == b"one"


def test_a_file_that_still_grows_is_not_delivered(line):
    for length in range(1, 6):
        line.drop("a.png", b"x" * length)
        assert line.tick().closed == ()
    assert len(line.tick().closed) == 1


def test_a_file_rewritten_with_the_same_size_and_time_has_not_settled(line):
    line.drop("a.png", b"one")
    times = (line.box.folder / "a.png").stat()
    line.tick()
    time.sleep(0.02)
    line.drop("a.png", b"two")
    os.utime(line.box.folder / "a.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert line.tick().closed == ()
    assert len(line.tick().closed) == 1


def test_a_delivery_whose_tick_died_is_found_by_the_next(line):
    line.drop("a.png", b"one")
    (delivery,) = line.tick(2).closed
    line.box.memory.unlink()
    look = line.tick()
    assert ([one.key for one in look.under_way], look.closed) == ([delivery.key], ())
    assert line.tick(5).closed == ()


def test_folders_links_and_temporary_files_are_not_taken(line):
    line.drop("a.png.part", b"one")
    line.drop(".hidden.png", b"one")
    line.drop("b.TMP", b"one")
    (line.box.folder / "c.png").mkdir()
    (line.box.folder / "d.png").symlink_to(line.box.folder / "b.TMP")
    os.mkfifo(line.box.folder / "e.png")
    look = line.tick(3)
    assert (look.closed, look.unsettled) == ((), 0)
    assert look.ignored == {"folder": 1, "link": 1, "special file": 1}


@pytest.mark.parametrize("name", ["a.png", "part", "a.tmp.png", "ä b.jpg"])
def test_a_plain_name_is_takeable(name):
    assert is_takeable(name, acquisition())


def test_the_spec_says_which_endings_are_unfinished():
    assert not is_takeable("a.png.DRAFT", acquisition(unfinished=[".draft"]))
    assert is_takeable("a.part", acquisition(unfinished=[".draft"]))


def test_a_file_that_is_gone_before_it_is_read_is_said_to_be_gone_and_taken_when_it_comes_back(line):
    line.drop("a.png", b"one")
    (delivery,) = line.tick(2).closed
    (line.box.folder / "a.png").rename(line.root / "elsewhere")
    assert line.publish(delivery.key).receipts == {"a.png": Receipt("vanished")}
    line.tick(3)
    (line.root / "elsewhere").rename(line.box.folder / "a.png")
    (second,) = line.tick(2).closed
    assert line.publish(second.key).receipts["a.png"].outcome == "taken"
    assert line.names() == ["a.png"]


def test_a_file_replaced_by_a_link_before_it_is_read_is_not_followed(line):
    line.drop("a.png", b"one")
    (delivery,) = line.tick(2).closed
    (line.root / "secret").write_bytes(b"secret")
    (line.box.folder / "a.png").unlink()
    (line.box.folder / "a.png").symlink_to(line.root / "secret")
    assert line.publish(delivery.key).receipts == {"a.png": Receipt("changed")}


def test_a_file_rewritten_before_it_is_read_joins_the_next_delivery(line):
    line.drop("a.png", b"one")
    (delivery,) = line.tick(2).closed
    line.drop("a.png", b"other")
    assert line.tick(4).closed == ()
    assert line.publish(delivery.key).receipts == {"a.png": Receipt("changed")}
    (second,) = line.tick(2).closed
    line.publish(second.key)
    line.tick()
    assert (line.names(), line.inbox()) == (["a.png"], [])


def test_a_file_rewritten_after_it_was_read_is_new_content(line):
    line.drop("a.png", b"one")
    (delivery,) = line.tick(2).closed
    received = line.read(delivery.key)
    line.drop("a.png", b"other")
    line.publish(delivery.key, received)
    (second,) = line.tick(3).closed
    line.publish(second.key)
    line.tick()
    assert (line.names(), line.inbox()) == (["a.png", "a.png"], [])


@pytest.mark.parametrize("after", ["move", "keep"])
@pytest.mark.parametrize("when", ["claimed", "read", "published"])
def test_a_file_renamed_at_any_time_is_taken_once(tmp_path, after, when):
    line = Line(tmp_path, acquisition(after=after))
    line.drop("a.png", b"one")
    (delivery,) = line.tick(2).closed

    def rename():
        (line.box.folder / "a.png").rename(line.box.folder / "b.png")
        assert line.tick(3).closed == ()

    if when == "claimed":
        rename()
    received = line.read(delivery.key)
    if when == "read":
        rename()
    line.publish(delivery.key, received)
    if when == "published":
        (line.box.folder / "a.png").rename(line.box.folder / "b.png")
    for _ in range(6):
        line.tick()
        line.run_all()
    line.tick()
    assert line.names() == (["b.png"] if when == "claimed" else ["a.png"])
    assert (line.inbox(), line.taken()) == ((["b.png"], []) if after == "keep" else ([], ["b.png"]))


def test_the_same_file_dropped_again_is_not_taken_twice(line):
    for _ in range(3):
        line.drop("a.png", b"one")
        line.tick(2)
        line.run_all()
        line.tick(3)
    assert (line.names(), line.inbox(), line.taken()) == (["a.png"], [], ["a.png"] * 3)
    outcomes = Counter(receipt.outcome for _, receipts in line.lake.values() for receipt in receipts.values())
    assert outcomes == {"taken": 1, "repeated": 2}


def test_a_file_that_is_stripped_is_recognised_by_its_own_bytes_and_by_its_picture(tmp_path):
    line = Line(tmp_path, acquisition(metadata="strip"))
    photo = make_frames.jpeg(make_frames.cell())
    came = make_frames.jpeg_with_exif(photo, make_frames.exif({315: "Jane Doe"}))
    line.drop("a.jpg", came)
    (delivery,) = line.tick(2).closed
    first = line.publish(delivery.key)
    assert first.rows["frame_id"].to_list() == [hashlib.sha256(photo).hexdigest()]
    assert first.receipts["a.jpg"] == Receipt("taken", hashlib.sha256(came).hexdigest())
    line.tick()
    again = line.read(delivery.key)
    volatile = ("received_at", "arrived_at")
    assert again.rows.drop(volatile).equals(first.rows.drop(volatile))
    assert again.receipts == first.receipts

    line.drop("a.jpg", came)  # the same file
    line.tick(2)
    line.run_all()
    line.drop("a.jpg", photo)  # the same picture in another file
    line.tick(2)
    line.run_all()
    outcomes = [receipts["a.jpg"].outcome for _, receipts in line.lake.values()]
    assert outcomes == ["taken", "repeated", "repeated"]
    assert line.captures() == [("a.jpg", hashlib.sha256(photo).hexdigest())]


def test_a_file_that_could_not_be_stripped_comes_back_when_its_writer_goes_on(tmp_path):
    line = Line(tmp_path, acquisition(metadata="strip"))
    photo = make_frames.jpeg(make_frames.cell())
    line.drop("a.jpg", photo[:1000])
    (delivery,) = line.tick(2).closed
    assert not line.publish(delivery.key).receipts["a.jpg"].whole
    line.tick()
    (put_away,) = line.box.taken.rglob("a.jpg")
    put_away.write_bytes(photo)
    line.tick(4)
    line.run_all()
    assert hashlib.sha256(photo).hexdigest() in [frame_id for _, frame_id in line.captures()]


def test_kept_files_stay_and_are_not_taken_twice_even_when_the_memory_is_lost(keeping):
    keeping.drop("a.png", b"one")
    keeping.tick(2)
    keeping.run_all()
    for _ in range(4):
        assert keeping.tick().closed == ()
        keeping.box.memory.unlink()
    (keeping.box.folder / "a.png").chmod(0o600)
    assert keeping.tick(4).closed == ()
    assert (keeping.names(), keeping.inbox()) == (["a.png"], ["a.png"])
    keeping.drop("a.png", b"new content")
    assert len(keeping.tick(3).closed) == 1


@pytest.mark.parametrize("content", [b"", b"\0" * 50, b"\xff\xfe", b"{}", b"[]", b"null", b'{"sights": []}'])
def test_a_memory_that_cannot_be_read_is_rebuilt(keeping, content):
    keeping.drop("a.png", b"one")
    keeping.tick(2)
    keeping.run_all()
    keeping.tick()
    keeping.box.memory.write_bytes(content)
    assert keeping.tick(4).closed == ()
    assert keeping.names() == ["a.png"]


def test_a_memory_of_an_earlier_version_is_read():
    identity = [1, 2, 3, 4]
    by_name = {"identity": identity, "sha256": "s", "delivery": "k", "whole": True, "gone_since": None}
    earlier = {
        "last_name": "",
        "rotations": 0,
        "sights": {"b.png": {"identity": identity, "looks": 1, "since": 2.0}},
        "known": {"a.png": by_name},
        "closed_groups": {},
        "watched": {"k/c.png": identity},
        "accounted": [],
    }
    read = _memory(earlier)
    assert read.known == {"a.png": Known(Identity(*identity), "s", "k")}
    assert read.sights == {"b.png": Sight(Identity(*identity), 1, 2.0)}
    assert read.watched == {"k/c.png": Identity(*identity)}


def test_an_unfinished_delivery_does_not_bring_back_what_a_later_one_took(keeping):
    keeping.drop("a.png", b"one")
    (first,) = keeping.tick(2).closed
    keeping.publish(first.key)
    keeping.finished.clear()
    keeping.tick(2)
    keeping.drop("a.png", b"new content")
    (second,) = keeping.tick(3).closed
    keeping.publish(second.key)
    keeping.finished.clear()
    assert keeping.tick(6).closed == ()
    assert [one.key for one in keeping.box.under_way()] == sorted([first.key, second.key])


def test_a_file_rewritten_while_it_was_put_away_goes_back(line):
    line.drop("a.png", b"one")
    (delivery,) = line.tick(2).closed
    claimed = delivery.files["a.png"]
    line.drop("a.png", b"other")
    (line.box.taken / delivery.key).mkdir(parents=True)
    assert line.box._move("a.png", Known(claimed, "00", delivery.key)) is None
    assert (line.inbox(), line.taken()) == (["a.png"], [])


def test_a_hard_link_beside_a_kept_file_is_a_file_of_its_own(keeping):
    keeping.drop("a.png", b"one")
    keeping.tick(2)
    keeping.run_all()
    keeping.tick(2)
    (keeping.box.folder / "b.png").hardlink_to(keeping.box.folder / "a.png")
    keeping.tick(4)
    keeping.run_all()
    assert keeping.names() == ["a.png", "b.png"]


@pytest.mark.parametrize("lose_memory", [False, True])
def test_a_half_written_file_that_was_put_away_comes_back_when_its_writer_goes_on(line, lose_memory):
    whole = make_frames.png(make_frames.cell())
    with (line.box.folder / "a.png").open("wb") as writer:
        writer.write(whole[:500])
        writer.flush()
        line.tick(2)
        line.run_all()
        line.tick()
        assert line.taken() == ["a.png"]
        if lose_memory:
            line.tick()
            line.box.memory.unlink()
        writer.write(whole[500:])
    line.tick(3)
    line.run_all()
    line.tick(2)
    assert line.names() == ["a.png", "a.png"]
    assert [len(file.read_bytes()) for file in line.box.taken.rglob("*.png")] == [len(whole)]


def test_a_delivery_that_was_put_away_can_be_read_again_and_keeps_rows_of_files_that_are_gone(line):
    line.of = acquisition(close={"files": 2})
    line.drop("a.png", b"one")
    line.drop("b.png", b"two")
    (delivery,) = line.tick(2).closed
    first = line.publish(delivery.key)
    line.tick(2)
    (line.box.taken / delivery.key / "a.png").unlink()
    again = line.read(delivery.key)
    assert again.rows.drop("received_at").equals(first.rows.drop("received_at"))
    assert {name: one.sha256 for name, one in again.receipts.items()} == {
        name: one.sha256 for name, one in first.receipts.items()
    }
    assert again.outcomes() == {"taken": 2}
    assert len(again.files) == 1


def test_a_delivery_is_not_read_from_an_inbox_that_is_not_there(line):
    line.drop("a.png", b"one")
    (delivery,) = line.tick(2).closed
    line.box.folder.rename(line.root / "unmounted")
    with pytest.raises(FileNotFoundError, match="is not there"):
        line.read(delivery.key)
    with pytest.raises(FileNotFoundError):
        line.tick()


def test_each_file_is_looked_at_in_its_turn_however_few_a_look_considers(tmp_path):
    line = Line(tmp_path, acquisition(files_per_tick=3))
    for place in range(10):
        line.drop(f"f{place}.png", bytes([place]))
    for _ in range(14):
        assert len(line.tick().closed) <= 3
        line.run_all()
    line.tick(4)
    assert (line.names(), line.inbox()) == ([f"f{place}.png" for place in range(10)], [])


def test_a_window_goes_round_in_a_circle():
    names = ["d", "a", "c", "b"]
    assert window(names, "", 3) == ["a", "b", "c"]
    assert window(names, "c", 3) == ["d", "a", "b"]
    assert window(names, "z", 9) == ["a", "b", "c", "d"]
    assert window([], "z", 9) == []


def test_a_file_with_a_name_that_is_no_text_is_taken(line):
    name = os.fsdecode(b"caf\xe9.png")
    line.drop(name, b"one")
    line.tick(2)
    line.run_all()
    line.tick()
    assert (line.names(), line.inbox()) == (["caf\N{REPLACEMENT CHARACTER}.png"], [])


@pytest.mark.parametrize(
    "name",
    [
        "two words.png",
        'it\'s "quoted".png',
        "x..png",
        "up\\..\\..\\up.png",
        "%2e%2e%2fup.png",
        "日本.png",
        "e\N{COMBINING ACUTE ACCENT}.png",
        "two\nlines.png",
        "<b>.png",
        "-rf.png",
        "a" * 251 + ".png",
    ],
)
def test_a_file_with_an_odd_name_is_taken_once_and_leaves_no_folder(line, name):
    line.drop(name, b"one")
    line.tick(2)
    line.run_all()
    line.tick()
    assert (line.names(), line.inbox(), line.taken()) == ([name], [], [name])
    assert {one.name for one in line.root.iterdir()} == {"inbox", "inbox.json", "deliveries", "taken"}


def test_two_files_whose_names_read_alike_keep_a_row_each_when_they_are_gone(line):
    line.of = acquisition(close={"files": 2})
    line.drop(os.fsdecode(b"caf\xe8.png"), b"one")
    line.drop(os.fsdecode(b"caf\xe9.png"), b"two")
    (delivery,) = line.tick(2).closed
    first = line.publish(delivery.key)
    line.tick(2)
    for gone in list((line.box.taken / delivery.key).iterdir()):
        gone.unlink()
        again = line.read(delivery.key)
        assert again.rows["capture_id"].to_list() == first.rows["capture_id"].to_list()
        assert again.outcomes() == {"taken": 2}


NAMES = st.sampled_from(["a.png", "b.png", "c.jpg", "d.bin"])


class AnyHistory(RuleBasedStateMachine):
    """Whatever people, cameras, ticks and runs do, each content is captured once, and none is lost."""

    @initialize(
        after=st.sampled_from(["move", "keep"]),
        closing=st.sampled_from([{"files": 1}, {"files": 2, "minutes": 1}, {"minutes": 0.2}]),
        files_per_tick=st.sampled_from([1, 2, 100]),
    )
    def start(self, after, closing, files_per_tick):
        self.root = Path(tempfile.mkdtemp())
        self.line = Line(self.root, acquisition(after=after, close=closing, files_per_tick=files_per_tick))
        self.written = 0
        self.wanted: dict[int, str] = {}
        self.reading: dict[str, object] = {}

    def teardown(self):
        if hasattr(self, "root"):
            self.settle()
            shutil.rmtree(self.root)

    def new_content(self, name):
        # Only what is whole when it is taken is not brought back: see the test on half-written files.
        self.written += 1
        return make_frames.png_that_claims(1, self.written)

    @rule(name=NAMES)
    def drop_or_rewrite(self, name):
        time.sleep(0.005)
        self.line.drop(name, self.new_content(name))

    @rule(name=NAMES)
    def replace(self, name):
        (self.root / "new").write_bytes(self.new_content(name))
        (self.root / "new").replace(self.line.box.folder / name)

    @rule(name=NAMES, share=st.floats(0, 1))
    def write_half(self, name, share):
        time.sleep(0.005)
        content = self.new_content(name)
        self.line.drop(name, content[: int(len(content) * share)])

    @rule(name=NAMES, other=NAMES)
    def rename(self, name, other):
        source, target = self.line.box.folder / name, self.line.box.folder / other
        if source.exists() and not target.exists():
            time.sleep(0.005)
            source.rename(target)

    @rule(name=NAMES)
    def touch(self, name):
        if (self.line.box.folder / name).exists():
            (self.line.box.folder / name).chmod(0o640)

    @rule(place=st.integers(0, 20))
    def drop_again(self, place):
        """A person drops a file again that was put away."""
        files = sorted(file for file in self.line.box.taken.rglob("*") if file.is_file())
        if files:
            file = files[place % len(files)]
            captured = {frame for name, frame in self.line.captures() if name == file.name}
            target = self.line.box.folder / file.name
            if not target.exists() and sha256(file) in captured:
                shutil.copyfile(file, target)

    @rule(times=st.integers(1, 3))
    def tick(self, times):
        self.line.tick(times)

    @rule()
    def lose_the_memory(self):
        self.line.box.memory.unlink(missing_ok=True)

    @rule()
    def start_runs(self):
        for manifest in self.line.box.under_way():
            if manifest.key not in self.line.lake:
                self.reading[manifest.key] = self.line.read(manifest.key)

    @rule(crash=st.booleans())
    def end_runs(self, crash):
        for key, received in self.reading.items():
            if not crash:
                self.line.publish(key, received)
        self.reading = {}

    def settle(self):
        self.end_runs(crash=False)
        quiet = 0
        while quiet < 20 and (self.line.of.after == "keep" or self.line.inbox() or self.line.box.under_way()):
            self.line.now += 60
            quiet = 0 if self.line.tick().closed else quiet + 1
            self.line.run_all()
        in_lake = {frame for _, frame in self.line.captures()}
        for file in [*self.line.box.folder.iterdir(), *self.line.box.taken.rglob("*")]:
            if file.is_file():
                assert sha256(file) in in_lake, f"{file.name} was lost"
        if self.line.of.after == "move":
            assert self.line.inbox() == []
        assert self.line.box.under_way() == []

    @invariant()
    @precondition(lambda self: hasattr(self, "line"))
    def nothing_is_taken_twice(self):
        frames = Counter(frame for _, frame in self.line.captures())
        assert all(count == 1 for count in frames.values()), frames.most_common(3)


def sha256(file):
    import hashlib

    return hashlib.sha256(file.read_bytes()).hexdigest()


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
