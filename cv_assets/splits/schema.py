"""Contract of the splits step."""

import dataframely as dy


class SplitTable(dy.Schema):
    """One frame that trains or judges, and its role."""

    frame_id = dy.String(primary_key=True)
    capture_id = dy.String(description="Its first accepted capture.")
    path = dy.String(description="Where its prepared PNG is.")
    preparation = dy.String(description="Digest of the pass that prepared it.")
    group = dy.String(description="What it must not be parted from: the spec's columns, joined by `/`.")
    role = dy.String(regex="^(train|val|test|golden|challenge)$")
    label = dy.String(description="The agreed or verified class.")
    attributes = dy.String(description="The capture's attributes, as JSON.")
