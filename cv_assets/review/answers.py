"""What people said of frames. What a named person verified for the benchmark stands above votes."""

import polars as pl


def answers(label_table: pl.DataFrame, benchmark_frames: pl.DataFrame) -> pl.DataFrame:
    """What was said of each frame: `answer`, null while votes do not decide, by whom and when."""
    verified = benchmark_frames.select(
        "frame_id",
        answer="label",
        answered_by=pl.concat_list("verified_by"),
        annotations=pl.concat_list("annotation_id"),
        answered_at="verified_at",
    )
    voted = label_table.join(verified, on="frame_id", how="anti").select(
        "frame_id",
        answer=pl.when(pl.col("status") == "agreed").then("label"),
        answered_by="annotators",
        annotations="annotations",
        answered_at="labelled_at",
    )
    return pl.concat([verified, voted])


def known_truth(label_table: pl.DataFrame, benchmark_frames: pl.DataFrame) -> pl.DataFrame:
    """The class of every frame that has a verified or an agreed label: frame_id, `truth` and `answered_at`."""
    said = answers(label_table, benchmark_frames).filter(pl.col("answer").is_not_null())
    return said.select("frame_id", "answered_at", truth="answer")
