"""Contracts of the lookback step: readings of verdicts that were given. Nothing here changes one."""

import dataframely as dy


class ThresholdReplay(dy.Schema):
    """One stored verdict beside the one that another operating band would have given."""

    capture_id = dy.String(primary_key=True, description="The capture, as in inspections.")
    part = dy.String(description="The part.")
    delivery = dy.String(description="The delivery it came with.")
    group = dy.String(nullable=True, description="What belongs together; intervals respect it.")
    release = dy.String(description="The version that decided.")
    defect_score = dy.Float64(min=0, max=1, description="The stored score, 0 to 1.")
    verdict = dy.String(description="The stored verdict.")
    replayed = dy.String(description="What the replayed band gives: PASS, REVIEW or FAIL.")
    changed = dy.Bool(description="Are they different?")
    truth = dy.String(nullable=True, description="The agreed or verified class; null while it is not known.")
    weight = dy.Float64(
        nullable=True,
        min=1,
        description="How many captures it stands for: 1 / the probability that a person was asked, and more where "
        "others of its verdict are unanswered. Null where nobody was asked, or none answered: it stands for none.",
    )
    lower = dy.Float64(description="The replayed band: below it a part passes.")
    upper = dy.Float64(description="The replayed band: from it on a part fails.")


class VerdictExplanation(dy.Schema):
    """One link of the chain behind the verdicts on one part: a fact, and where in the lake it is written."""

    number = dy.Int64(primary_key=True, min=1, description="Its place in the chain.")
    link = dy.String(
        description="capture, preparation, verdict, release, gate, checkpoint, request, alarm, labels, benchmark, "
        "review."
    )
    about = dy.String(description="What it is about: a capture, a version, a criterion, an annotator.")
    fact = dy.String(description="The fact, in words.")
    commit = dy.String(description="The commit of the lake that holds it.")
    path = dy.String(description="The object that holds it, as of that commit.")
    run_id = dy.String(nullable=True, description="The Dagster run that published it.")
    code_version = dy.String(nullable=True, description="Hash of the code that made it.")
