"""The links in words, where a whole chain would be too much to ask for."""

from datetime import timedelta

import polars as pl
import pytest
from make_alarms import FIRST, made, measured, request, short
from make_releases import release_row
from make_replay import inspections, labels, rejected, scored, verified

from cv_assets.labels.schema import Annotations
from cv_assets.lookback.explanation import Source, Written
from cv_assets.lookback.in_short import in_short
from cv_assets.lookback.model_links import (
    Behind,
    benchmark_facts,
    checkpoint_facts,
    gate_facts,
    label_facts,
    release_facts,
    request_facts,
)
from cv_assets.lookback.verdict_links import STATEMENT, Answers, Seen, review_facts, verdict_facts
from cv_assets.release.schema import Releases
from cv_assets.spec.load import load_spec, to_table
from resources.deployments import ROOT

HERE = Source("c" * 40, "tables/somewhere.parquet")
NOTHING = Written(pl.DataFrame(), HERE)


def written(rows):
    return Written(rows, HERE)


def behind(*rows, **tables):
    history = pl.DataFrame(list(rows), schema=Releases.create_empty().schema)
    names = ("decision", "report", "checkpoint", "request", "split", "labels", "benchmark", "alarms")
    return Behind(
        release=history.row(-1, named=True),
        releases=written(history),
        **{name: tables.get(name, NOTHING) for name in names},
        statements=Annotations.create_empty().select(STATEMENT),
        exports={},
        tagged=None,
    )


def seen(row, spec):
    return Seen(
        "d1", row["capture_id"], NOTHING, NOTHING, written(inspections(row)), NOTHING, written(to_table(spec))
    )


def said(facts):
    return {fact.about: fact.says for fact in facts}


def people(label_table=None, benchmark=None):
    statements = Annotations.create_empty().select(STATEMENT)
    return Answers(
        NOTHING,
        NOTHING if label_table is None else written(label_table),
        NOTHING if benchmark is None else written(benchmark),
        statements,
        {},
    )


def test_a_version_that_was_put_back_in_force_names_both_decisions():
    first = release_row(1, "v1.0.0", "c1")
    back = {"outcome": "rolled_back", "why": "v1.1.0 overkills", "approver": "night.shift"}
    told = said(
        release_facts(behind(first, release_row(2, "v1.1.0", "c2"), release_row(3, "v1.0.0", "c1", **back)))
    )
    assert told["v1.0.0"] == "put back in force (row 3): v1.1.0 overkills"
    assert told["approver"].startswith("night.shift (as typed, not authenticated), ")
    assert told["first released"].startswith(
        "released (row 1) by quality.lead (as typed, not authenticated), "
    )
    assert told["tag"] == "there is no tag v1.0.0"


@pytest.mark.parametrize("link", [gate_facts, checkpoint_facts, label_facts])
def test_a_link_whose_table_is_lost_is_missing_and_not_left_out(link):
    (fact,) = link(behind(release_row(1, "v1.0.0", "c1")))
    assert fact.missing
    assert fact.source == HERE


def test_the_gate_says_what_was_met_what_did_not_apply_and_what_the_benchmark_held():
    rows = [
        ("overkill", "overkill on golden frames", 0.1, 0.05, 0.2, 40, "0.100; at most 0.3 is met"),
        (
            "escape_rate",
            "escape_rate with product=poly",
            None,
            None,
            None,
            0,
            "not applicable: no training frame",
        ),
        (
            "benchmark_frames",
            "golden frames with product=mono",
            1180.0,
            None,
            None,
            1180,
            "1180, at least 20",
        ),
    ]
    names = ["metric", "criterion", "measured", "low", "high", "samples", "why"]
    decision = pl.DataFrame(rows, schema=names, orient="row").with_columns(passed=True)
    told = said(gate_facts(behind(release_row(1, "v1.0.0", "c1"), decision=written(decision))))
    assert told == {
        "overkill on golden frames": "met: 0.1 (interval 0.05 to 0.2) on 40 frames",
        "escape_rate with product=poly": "not applicable: no training frame",
        "golden frames with product=mono": "met: 1,180 frames",
    }


def test_a_release_without_a_benchmark_says_so():
    assert said(benchmark_facts(behind(release_row(1, "v1.0.0", "c1")))) == {
        "version 0": "there was no benchmark"
    }


def test_a_training_that_an_alarm_asked_for_names_it_as_it_stood_then():
    asked = pl.DataFrame([request("drift-r1-1", "drift-r1", hour=10)])
    drifted = [measured(f"d{n}", "drifted", hour=n) for n in (1, 2)]
    spec = short(load_spec(ROOT / "specs" / "solar_cells.yaml"))
    alarms = made(spec, metrics=drifted, releases=[FIRST]).with_columns(
        page=pl.lit("alarms/drift-r1/evidently.html"), page_note=pl.lit("it calls 9 of 15 drifted")
    )
    tables = {"request": written(asked), "alarms": written(alarms)}
    facts = request_facts(behind(release_row(2, "v1.1.0", "drift-r1-1"), **tables))
    told = said(facts)
    assert told["why"] == "the data drifted: drift-r1"
    assert told["drift-r1"].startswith(
        "open since 2026-03-02 15:00:00 UTC: Novelty drifted at line1 in 2 deliveries"
    )
    assert told["deliveries"] == "d1 and d2"
    assert told["labels"] == "0 fresh labels of 2 were there"
    assert told["page"] == "Evidently's report: it calls 9 of 15 drifted"
    assert facts[-1].source == HERE.of("alarms/drift-r1/evidently.html")


def test_an_alarm_that_a_training_names_and_that_is_lost_is_missing():
    row = release_row(2, "v1.1.0", "c1")
    (fact,) = (
        one for one in request_facts(behind(row, request=asked_for("drift-r1"))) if one.link == "alarm"
    )
    assert fact.missing
    assert all(one.link != "alarm" for one in request_facts(behind(row, request=asked_for("I saw it drift"))))


def asked_for(evidence):
    return written(pl.DataFrame([request("c1", evidence, hour=10)]))


def test_a_frame_that_no_model_saw_says_what_was_in_force_all_the_same(spec):
    told = said(verdict_facts(seen(rejected("a"), spec)))
    assert told["decided by"] == (
        "v1.0.0 (row 1 of releases), model cnn of first, was in force, but no model looked at it: frame_rejected"
    )
    assert "scores" not in told
    assert told["told the line"] == "not yet"


@pytest.mark.parametrize(
    ("score", "truth", "tells"),
    [
        (0.9, "defective", "people say defective: they agree with FAIL"),
        (0.9, "sound", "people say sound: they CONTRADICT FAIL; it was overkill, a sound part that failed"),
        (0.1, "sound", "people say sound: they agree with PASS"),
        (
            0.1,
            "defective",
            "people say defective: they CONTRADICT PASS; it was an escape, a defective part that passed",
        ),
        (0.5, "sound", "people say sound: they decided what the verdict left to them"),
    ],
)
def test_what_people_say_is_held_against_the_verdict(spec, score, truth, tells):
    row = scored("a", score)
    assert said(review_facts(seen(row, spec), people(labels(a=truth))))["verdict and people"] == tells
    assert (
        said(review_facts(seen(row, spec), people(benchmark=verified(a=truth))))["verdict and people"]
        == tells
    )


def test_what_people_had_said_before_the_verdict_is_not_told_as_an_answer_to_it(spec):
    row = {**scored("a", 0.5), "decided_at": scored("a", 0.5)["decided_at"] + timedelta(days=400)}
    told = said(review_facts(seen(row, spec), people(labels(a="sound"))))
    assert told["verdict and people"] == ("people say sound: the verdict leaves open what they had decided")


def test_the_sentences_say_when_and_whether_people_decided(spec):
    def last(row, answers):
        return list(in_short([seen(row, spec)], None, answers))[-1]

    row = scored("a", 0.9)
    later = {**row, "decided_at": row["decided_at"] + timedelta(days=400)}
    assert (
        last(row, people(labels(a="defective"))) == "Since then people say defective: they agree with FAIL."
    )
    assert last(later, people(labels(a="defective"))).startswith("Since before it was inspected people say")
    undecided = last(row, people(labels(a=None)))
    assert undecided == "What it really is, is not decided: 3 votes by ada so far."
    assert last(row, people()) == "Nobody has answered what it really is."


def test_what_was_verified_stands_above_votes(spec):
    told = said(
        review_facts(seen(scored("a", 0.9), spec), people(labels(a="sound"), verified(a="defective")))
    )
    assert told["label"].startswith("sound, unanimous of 3 votes")
    assert told["verdict and people"] == "people say defective: they agree with FAIL"


def test_votes_that_do_not_decide_say_nothing_against_a_verdict(spec):
    told = said(review_facts(seen(scored("a", 0.9), spec), people(labels(a=None))))
    assert told["label"] == "none yet: 3 votes by ada do not decide (too_few_votes)"
    assert "verdict and people" not in told


def test_whether_anybody_was_asked_is_said(spec):
    asked, not_asked = scored("a", 0.9, asked=True), scored("b", 0.9)
    assert "does not hold it yet" in said(review_facts(seen(asked, spec), people()))["item"]
    assert said(review_facts(seen(not_asked, spec), people()))["item"].startswith("nobody was asked")
