"""Files that can be made again."""

from pathlib import Path

from cv_assets.training.cache import cached_file, is_sound, keep


def refuse() -> bytes:
    raise AssertionError("made although it is kept")


def test_a_kept_file_is_not_made_again(tmp_path: Path):
    first = cached_file(tmp_path, "graph", ".onnx", lambda: b"content")
    assert cached_file(tmp_path, "graph", ".onnx", refuse) == first
    assert first.read_bytes() == b"content"


def test_a_damaged_file_is_made_again(tmp_path: Path):
    damaged = cached_file(tmp_path, "graph", ".onnx", lambda: b"content")
    damaged.write_bytes(b"cont")
    assert not is_sound(damaged)
    assert cached_file(tmp_path, "graph", ".onnx", lambda: b"content").read_bytes() == b"content"


def test_writing_leaves_nothing_unfinished_behind(tmp_path: Path):
    path = keep(tmp_path / "new", "key.", ".bin", b"content")
    assert list((tmp_path / "new").iterdir()) == [path]
