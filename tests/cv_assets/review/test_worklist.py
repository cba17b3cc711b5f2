"""The worklist holds what waits for people, due first, in a form that labelling tools and exports understand."""

import json

import polars as pl
from make_drift import metrics
from make_labels import RECEIVED, demo_spec, frame, statement
from make_labels import raw_frames as arrived
from make_review import benchmark, capture, inspections, label, labels, minutes, raw_frames, verdict

from cv_assets.labels.exports import read_export
from cv_assets.labels.rules import check_annotations, resolve_frames
from cv_assets.labels.schema import Annotations
from cv_assets.review.asked import whole_deliveries
from cv_assets.review.queue import review_queue, waiting
from cv_assets.review.schema import ReviewWorklist
from cv_assets.review.worklist import picture_name, tasks_json, worklist
from cv_assets.spec.inspection import Review


def items(*voted):
    """What waits of two frames, in the order of the queue; a third is answered."""
    captures = [capture("late"), capture("soon"), capture("done")]
    verdicts = [
        verdict(one, "low_confidence", minute=at) for one, at in zip(captures, (9, 1, 0), strict=True)
    ]
    queue = review_queue(
        inspections=inspections(*verdicts),
        raw_frames=raw_frames(*captures),
        label_table=labels(label("done", "ann", "bob", agreed="sound"), *voted),
        benchmark_frames=benchmark(),
        whole=whole_deliveries(metrics(), patience=2, in_force=1),
        review=Review(due_hours=1),
    )
    return waiting(queue)


def test_what_is_due_first_comes_first_and_what_is_answered_is_not_there():
    rows = worklist(items(), "1")
    ReviewWorklist.validate(rows)
    assert rows.select("place", "part", "due_at").rows() == [
        (1, "part soon", minutes(61)),
        (2, "part late", minutes(69)),
    ]
    tasks = json.loads(tasks_json(worklist(items(), "1"), str))
    assert [task["data"]["part"] for task in tasks] == ["part soon", "part late"]


def test_a_task_says_where_the_picture_is_why_it_is_asked_and_by_when():
    task = json.loads(tasks_json(worklist(items(label("soon", "ann")), "7"), lambda path: f"lake:{path}"))[0]
    path = f"raw_frames/d1/{frame('soon')}.png"
    assert task == {
        "data": {
            "image": f"/data/local-files/?d=pictures/{frame('soon')}.png",
            "frame_id": frame("soon"),
            "path": path,
            "link": f"lake:{path}",
            "part": "part soon",
            "delivery": "d1",
            "reason": "low_confidence",
            "why": "because of low_confidence",
            "state": "unresolved",
            "answered_by": ["ann"],
            "due_at": "2026-03-02T13:01:00+00:00",
            "guideline": "7",
        }
    }


def test_an_export_may_name_the_picture_by_any_of_the_names_that_a_task_gives_it():
    data = json.loads(tasks_json(worklist(items(), "1"), str))[0]["data"]
    names = [data["image"], data["path"], data["frame_id"], picture_name(data["path"])]
    stated = pl.DataFrame(
        [statement(name, "ann", "sound") for name in names], schema=Annotations.create_empty().schema
    )
    assert resolve_frames(stated, arrived("late", "soon"))["frame_id"].to_list() == [frame("soon")] * len(
        names
    )


def test_what_label_studio_exports_of_a_task_is_a_vote_on_its_frame():
    task = json.loads(tasks_json(worklist(items(), "1"), str))[0]
    said = {"type": "choices", "from_name": "class", "to_name": "image", "value": {"choices": ["sound"]}}
    answer = {"id": 7, "completed_by": 3, "result": [said], "updated_at": "2026-03-02T14:00:00Z"}
    exported = json.dumps([{"id": 1, "project": 8, **task, "annotations": [answer]}]).encode()
    rows = read_export(exported, file="ls.json", export="e1", evidence="e", received_at=RECEIVED)
    checked = check_annotations(rows, arrived("late", "soon"), demo_spec())
    assert checked.select("frame_id", "annotator", "broken_rule").rows() == [(frame("soon"), "3", None)]


def test_nobody_waiting_is_an_empty_list():
    rows = worklist(items().clear(), "1")
    assert rows.equals(ReviewWorklist.create_empty())
    assert json.loads(tasks_json(rows, str)) == []
