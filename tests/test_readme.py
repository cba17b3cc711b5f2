"""What the README shows can be run."""

import re

import polars as pl
from by_hand import publish_by_hand

from cv_assets.frames.schema import PreparedFrames
from resources.deployments import ROOT
from resources.tables import parquet, table_path


def test_a_table_and_a_frame_of_a_release_are_read_in_three_lines(tables, deployment, monkeypatch):
    row = {"capture_id": "c1", "accepted": True, "path": "prepared_frames/d1/ab.png"}
    rows = pl.concat([PreparedFrames.create_empty(), pl.DataFrame([row])], how="diagonal")
    publish_by_hand(
        tables.lake, {table_path("prepared_frames", "d1"): parquet(rows), row["path"]: b"the picture"}
    )
    tables.lake.tag("v1.0.0", tables.lake.resolve("main"))
    monkeypatch.setenv("CV_DATA", str(deployment.data_dir))
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(lines, names)  # noqa: S102  (what a reader would do with it)
    assert names["frames"]["capture_id"].to_list() == ["c1"]
    assert names["picture"].read_bytes() == b"the picture"
    assert len([line for line in lines.splitlines()[1:] if line]) == 3
