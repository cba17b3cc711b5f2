from pathlib import Path

from demo.__main__ import start_clean


def test_an_earlier_demo_leaves_embeddings_and_nothing_else(tmp_path: Path):
    for name in ("dagster/history", "data/inbox", "data/lake", "data/cache/features", "data/cache/frames-x"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("lock", "story.json", "data/cache/inbox.json", "data/cache/features/one"):
        (tmp_path / name).touch()
    assert start_clean(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"lock", "data", "data/cache", "data/cache/features", "data/cache/features/one"}


def test_the_first_demo_finds_nothing_to_use(tmp_path: Path):
    assert not start_clean(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
