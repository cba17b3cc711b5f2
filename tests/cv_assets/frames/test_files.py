"""A file for others is whole or not there."""

import pytest

from cv_assets.frames.files import write_atomically


def test_a_file_is_written_with_its_folder_and_replaced_whole(tmp_path):
    file = tmp_path / "review" / "pictures" / "a.json"
    write_atomically(file, b"first")
    with file.open("rb") as reading:
        write_atomically(file, b"second, and longer")
        assert reading.read() == b"first"
    assert file.read_bytes() == b"second, and longer"
    assert [one.name for one in file.parent.iterdir()] == ["a.json"]


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_atomically(tmp_path / "taken", b"a folder has the name")
    assert [one.name for one in tmp_path.iterdir()] == ["taken"]
