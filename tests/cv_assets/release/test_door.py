"""The door of approvals, as browsers and those who mean ill meet it."""

import re
from datetime import UTC, datetime

import httpx
import polars as pl
import pytest
from make_door import HISTORY, KEY, SHARED, AtTheDoor, board_of, criterion, opened
from make_releases import release_row

from cv_assets.release.approval import Decided, verify
from cv_assets.release.door import BoardError, Door, Secrets
from cv_assets.release.launching import Dagster

ADA, EVE = "ada@plant.example", "eve@plant.example"


@pytest.fixture
def board(spec):
    """A candidate that waits for a person, and one that nobody judged yet."""
    return board_of(spec, opened("c3", criterion()), opened("c4"))


def config(door: AtTheDoor) -> dict[str, object]:
    return door.dagster.launched[-1]["runConfigData"]["ops"]["releases"]["config"]


def test_an_approval_launches_a_run_that_carries_who_logged_in(board):
    door = AtTheDoor(board, name=ADA)
    reply = door.decide("c3", "approve", why="looked at every escape")
    assert (reply.status_code, reply.headers["location"]) == (303, "runs/run-1")
    given = config(door)
    decided = Decided("c3", "", ADA, approve=True, why="looked at every escape")
    assert {name: given[name] for name in ("candidate", "approver", "approve", "why")} == {
        "candidate": "c3", "approver": ADA, "approve": True, "why": "looked at every escape",
    }  # fmt: skip
    approval = verify(
        given["approval"], KEY, decided=decided, place="solar_cells on main", now=datetime.now(UTC)
    )
    assert (approval.known, approval.seen) == ("authenticated", "judged-c3")
    assert door.dagster.launched[0]["selector"]["jobName"] == "release"


def test_a_typed_name_is_recorded_as_typed_and_the_page_says_so(board):
    door = AtTheDoor(board)
    assert "a name, which is recorded as typed, not\n  authenticated" in door.open()
    assert door.decide("c3", "approve", name=ADA).status_code == 303
    decided = Decided("c3", "", ADA, approve=True, why="")
    read = verify(
        config(door)["approval"], KEY, decided=decided, place="solar_cells on main", now=datetime.now(UTC)
    )
    assert read.known == "asserted"


def test_without_a_key_the_run_gets_what_was_typed(board):
    door = AtTheDoor(board, key="")
    assert door.decide("c4", "decline", name=ADA, why="no memory for it").status_code == 303
    assert (config(door)["approval"], config(door)["approve"]) == ("", False)


def test_where_the_spec_asks_for_a_login_nothing_is_decided_without_one(spec, board):
    door = AtTheDoor(board)
    token = door.token("c3")
    door.board = board_of(spec, opened("c3", criterion()), identity="authenticated")
    assert "<form" not in door.open()
    reply = door.decide("c3", "approve", name=ADA, token=token)
    assert "The spec asks for approvers who logged in" in reply.text
    assert door.dagster.launched == []


def test_who_may_not_decide_may_look(board):
    door = AtTheDoor(board, name=EVE)
    page = door.open()
    assert "You may look, not decide." in page
    assert "<form" not in page


@pytest.mark.parametrize("path", ["/", "/runs/run-1"])
@pytest.mark.parametrize(
    "login", [{}, {"X-Auth-Request-Email": ADA}, {"X-Auth-Request-Email": ADA, "X-Proxy-Secret": "x"}]
)
def test_behind_a_login_nobody_comes_in_around_it(board, path, login):
    door = AtTheDoor(board, name=ADA)
    door.login = login
    reply = door.ask("GET", path)
    assert reply.status_code == 403
    assert "open it at the address of the login" in reply.text
    assert "c3" not in reply.text


def test_a_login_without_the_key_for_signing_does_not_start(board):
    with pytest.raises(ValueError, match="CV_PROXY_SECRET is set and CV_APPROVAL_KEY is not: set it too"):
        Door(lambda: board, Dagster("", "", httpx.Client()), Secrets("", SHARED), "")


def test_clicking_twice_launches_one_run(board):
    door = AtTheDoor(board, name=ADA)
    token = door.token("c3")
    replies = [door.decide("c3", "approve", token=token) for _ in range(2)]
    assert [reply.headers["location"] for reply in replies] == ["runs/run-1", "runs/run-1?earlier=1"]
    assert len(door.dagster.launched) == 1
    door.dagster.end("FAILURE")
    assert door.decide("c3", "approve", token=token).headers["location"] == "runs/run-2"


def test_a_decline_and_a_rollback_need_a_reason(board):
    door = AtTheDoor(board, name=ADA)
    for about, choice, fields in [
        ("c3", "decline", {}),
        ("Roll back", "roll_back", {"back_to": "v1.0.0", "why": " "}),
    ]:
        reply = door.decide(about, choice, **fields)
        assert (reply.status_code, "Give a reason" in reply.text) == (409, True)
    assert door.dagster.launched == []


def test_a_rollback_carries_the_history_that_was_seen(spec, board):
    door = AtTheDoor(board, name=ADA)
    token = door.token("Roll back")
    back = {"back_to": "v1.0.0", "why": "v1.1.0 overkills", "token": token}
    assert door.decide("Roll back", "roll_back", **back).status_code == 303
    assert door.dagster.launched[0]["selector"]["jobName"] == "roll_back"
    assert config(door)["back_to"] == "v1.0.0"
    door.dagster.runs.clear()
    longer = pl.concat([HISTORY, pl.DataFrame([release_row(3, "v1.2.0", "c9")], schema=HISTORY.schema)])
    door.board = board_of(spec, history=longer)
    assert "The history of releases grew since" in door.decide("Roll back", "roll_back", **back).text
    assert (
        "v9.9.9 is no version to go back to"
        in door.decide("Roll back", "roll_back", back_to="v9.9.9", why="x").text
    )


def test_what_changed_since_the_page_was_loaded_is_looked_at_again(spec, board):
    door = AtTheDoor(board, name=ADA)
    judged, unjudged = door.token("c3"), door.token("c4")
    door.board = board_of(spec, opened("c4", criterion()))
    assert "c3 is concluded already" in door.decide("c3", "approve", token=judged).text
    assert (
        "c4 was judged since the page was loaded"
        in door.decide("c4", "decline", why="x", token=unjudged).text
    )
    missed = opened("c4", criterion(passed=False, why="0.4 of 40"))
    door.board = board_of(spec, missed)
    assert "c4 cannot be approved: 1 of 1 criteria are not met" in door.decide("c4", "approve").text
    assert door.dagster.launched == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "", "Origin": "http://127.0.0.1:3070"},
    ],
)
def test_no_other_site_sends_a_form_in_a_person_s_name(board, headers):
    door = AtTheDoor(board, name=ADA)
    reply = door.decide("c3", "approve", headers=headers)
    assert (reply.status_code, "was not sent from a page of this door" in reply.text) == (403, True)
    assert door.dagster.launched == []


def test_a_form_that_was_shown_to_somebody_else_is_not_taken(board):
    bob, ada = AtTheDoor(board, name="bob@plant.example"), AtTheDoor(board, name=ADA)
    for token, words in [
        (bob.token("c3"), "shown to somebody else than ada"),
        ("x", "not one that the door showed"),
    ]:
        reply = ada.decide("c3", "approve", token=token)
        assert reply.status_code == 403
        assert words in reply.text


def test_a_form_decides_on_the_candidate_that_it_showed(board):
    door = AtTheDoor(board, name=ADA)
    assert "Say which version to roll back to" in door.decide("Roll back", "approve", why="x").text
    assert (
        "Say whether you approve or decline c3"
        in door.decide("c3", "roll_back", back_to="v1.0.0", why="x").text
    )


def test_a_huge_form_and_one_that_is_none_are_refused(board):
    door = AtTheDoor(board, name=ADA)
    assert door.decide("c3", "decline", why="x" * 20_000).status_code == 413
    assert door.decide("c3", "decline", why="x" * 3_000).status_code == 400
    assert door.ask("POST", "/decide", content=b"\xff\xfe").status_code == 400
    assert door.ask("GET", "/decide").status_code == 405
    assert door.ask("GET", "/nothing").status_code == 404


def test_without_a_login_only_this_machine_s_own_names_lead_to_the_door(board):
    """A page elsewhere whose name was made to mean this machine would else read the page and send its forms."""
    assert AtTheDoor(board).ask("GET", "/", headers={"Host": "evil.example"}).status_code == 400
    assert AtTheDoor(board, name=ADA).ask("GET", "/", headers={"Host": "plant.example"}).status_code == 200


def test_what_people_wrote_is_shown_and_does_nothing(spec):
    hostile = "<script>alert(1)</script> \u202e{{ 7 * 7 }}"
    row = release_row(1, "v1.0.0", "c1", approver='"><img src=x>', why=hostile)
    history = pl.DataFrame([row], schema=HISTORY.schema)
    candidate = opened("c3", criterion(criterion=hostile), evidence=hostile, requested_by=hostile)
    page = AtTheDoor(board_of(spec, candidate, history=history), name=ADA).open()
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt; \ufffd{{ 7 * 7 }}") >= 3
    assert "<script" not in page
    assert "<img" not in page


def test_every_answer_forbids_scripts_frames_and_copies(board):
    door = AtTheDoor(board, name=ADA)
    for path in ("/", "/style.css", "/healthz", "/nothing"):
        headers = door.ask("GET", path).headers
        assert headers["content-security-policy"].startswith(
            "default-src 'none'; style-src 'self'; form-action 'self'"
        )
        assert (headers["x-frame-options"], headers["cache-control"]) == ("DENY", "no-store")


def test_nothing_secret_is_on_a_page(board):
    door = AtTheDoor(board, name=ADA)
    door.decide("c3", "approve")
    for path in ("/", "/runs/run-1"):
        assert not any(secret in door.open(path) for secret in (KEY, SHARED))
    assert config(door)["approval"] not in door.open("/runs/run-1")


def test_a_run_is_told_until_its_row_is_there(spec, board):
    door = AtTheDoor(board, name=ADA)
    door.decide("c3", "approve")
    page = door.open("/runs/run-1")
    assert "The run waits in Dagster" in page
    assert 'http-equiv="refresh"' in page
    assert 'href="http://ui/runs/run-1"' in page
    door.dagster.end("SUCCESS")
    row = release_row(3, "v1.2.0", "c3", approver=ADA, why="looked at it")
    door.board = board_of(spec, history=pl.concat([HISTORY, pl.DataFrame([row], schema=HISTORY.schema)]))
    page = door.open("/runs/run-1")
    assert "c3 is released as v1.2.0" in page
    assert 'http-equiv="refresh"' not in page


def test_a_run_that_was_refused_says_why_in_the_product_s_own_words(board):
    door = AtTheDoor(board, name=ADA)
    door.decide("c3", "approve")
    door.dagster.end("FAILURE")
    door.dagster.failed = "c3 was judged after ada looked at it: look at it anew"
    page = door.open("/runs/run-1")
    assert "Nothing was concluded" in page
    assert "<p>c3 was judged after ada looked at it: look at it anew</p>" in page


def test_only_runs_of_decisions_are_shown(board):
    door = AtTheDoor(board, name=ADA)
    decides = {"key": "decides", "value": "solar_cells on main: c3 as judged at judged-c3"}
    door.dagster.add("other", "SUCCESS", "release", [])
    door.dagster.add("elsewhere", "SUCCESS", "release", [decides], project="digits")
    door.dagster.add("labels", "SUCCESS", "label", [decides])
    names = ("other", "elsewhere", "labels", "none")
    assert [door.ask("GET", f"/runs/{name}").status_code for name in names] == [404] * 4


def test_after_a_restore_what_is_open_again_is_decided_anew(board):
    door = AtTheDoor(board, name=ADA)
    door.decide("c3", "approve")
    door.dagster.end("SUCCESS")
    assert door.decide("c3", "decline", why="y").headers["location"] == "runs/run-2"
    assert config(door)["approve"] is False
    door.dagster.end("SUCCESS")
    for number in (3, 4):
        reply = door.decide("Roll back", "roll_back", back_to="v1.0.0", why="v1.1.0 overkills")
        assert reply.headers["location"] == f"runs/run-{number}"
        door.dagster.end("SUCCESS")


def test_a_run_that_only_says_what_it_decides_swallows_no_decision(board):
    door = AtTheDoor(board, name=ADA)
    decides = {"key": "decides", "value": "solar_cells on main: c3 as judged at judged-c3"}
    door.dagster.add("labels", "STARTED", "label", [decides])
    door.dagster.add("elsewhere", "STARTED", "release", [decides], project="digits")
    door.dagster.add("unsigned", "STARTED", "release", [decides])
    assert door.decide("c3", "decline", why="y").headers["location"] == "runs/run-4"
    door.dagster.add("later", "STARTED", "release", [decides])
    assert door.decide("c3", "approve").headers["location"] == "runs/run-4?earlier=1"


def test_where_somebody_decided_before_the_page_says_who_and_what(board):
    door = AtTheDoor(board, name=ADA)
    door.decide("c3", "decline", why="y")
    place = door.decide("c3", "approve").headers["location"]
    page = door.open(f"/{place}")
    assert "nothing new was launched" in page
    assert f"{ADA} declines c3" in page
    assert "nothing new was launched" not in door.open("/runs/run-1")


def test_of_a_canceled_run_the_page_says_until_when_it_can_still_take_effect(spec, board):
    door = AtTheDoor(board, name=ADA)
    door.decide("c3", "approve")
    door.dagster.end("CANCELED")
    page = door.open("/runs/run-1")
    assert re.search(r"executed again until [\d-]+ [\d:]+ UTC: decline c3 to be sure that it is not", page)
    row = release_row(3, None, "c3", outcome="refused")
    door.board = board_of(spec, history=pl.concat([HISTORY, pl.DataFrame([row], schema=HISTORY.schema)]))
    assert "executed again" not in door.open("/runs/run-1")
    keyless = AtTheDoor(board, key="")
    keyless.decide("c3", "approve", name=ADA)
    keyless.dagster.end("CANCELED")
    assert "can still be executed again: decline c3 to be sure that it is not" in keyless.open("/runs/run-1")


def test_a_dagster_or_a_lake_that_is_down_is_a_sentence_and_nothing_is_launched(board):
    door = AtTheDoor(board, name=ADA)
    token = door.token("c3")
    door.dagster.is_down = True
    reply = door.decide("c3", "approve", token=token)
    assert (reply.status_code, "nothing was concluded" in reply.text) == (503, True)
    door.board = BoardError("The lake cannot be read now: no answer from http://lake.")
    for reply in (door.ask("GET", "/"), door.decide("c3", "approve", token=token)):
        assert (reply.status_code, "The lake cannot be read now" in reply.text) == (503, True)
    assert door.dagster.launched == []
    assert door.ask("GET", "/healthz").text == "ok"
