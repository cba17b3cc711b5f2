"""Contract of the splits step."""

import dataframely as dy


class SplitTable(dy.Schema):
    """One frame that trains or judges, and its role."""

    frame_id = dy.String(
        primary_key=True,
        description="sha256 of the raw file's bytes, 64 hexadecimal digits; names the frame.",
    )
    capture_id = dy.String(description="Its first accepted capture.")
    path = dy.String(description="Where its prepared PNG is.")
    preparation = dy.String(description="Digest of the pass that prepared it.")
    group = dy.String(description="What it must not be parted from: the spec's columns, joined by `/`.")
    role = dy.String(
        regex="^(train|val|test|golden|challenge)$",
        description="train: it trains; val: it only stops a training; test, golden, challenge: it judges.",
    )
    label = dy.String(description="The agreed or verified class.")
    attributes = dy.String(description="The capture's attributes, as JSON.")
