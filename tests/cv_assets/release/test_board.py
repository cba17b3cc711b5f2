"""What the door shows of candidates and releases, in words that people decide by."""

from make_door import HISTORY, board_of, criterion, opened

from cv_assets.release.schema import Releases


def test_what_waits_for_a_person_comes_first_and_says_for_whom(spec):
    shown = board_of(spec, opened("c4"), opened("c3", criterion()))
    assert [(one.candidate, one.can_be_approved) for one in shown.waiting] == [("c3", True), ("c4", False)]
    assert shown.waiting[0].why == (
        "c3 waits for the approval of ada@plant.example or bob@plant.example (job `release`): the one criterion is met"
    )
    assert shown.waiting[1].why == "c4 has no release decision yet"
    assert shown.who_may == "ada@plant.example and bob@plant.example"
    assert shown.place == "solar_cells on main"


def test_a_criterion_stands_beside_the_release_in_force_on_the_same_frames(spec):
    then = {
        "model": "released", "set": "golden", "slice": "all", "metric": "escape_rate", "value": 0.13, "low": 0.0,
        "high": 0.3, "samples": 40, "groups": 4,
    }  # fmt: skip
    idle = criterion(2, metric="overkill", measured=None, low=None, high=None)
    (shown,) = board_of(spec, opened("c3", criterion(), idle, report=[then])).waiting
    first, second = shown.criteria
    assert (first.required, first.measured) == ("at most 0.300", "0.100 [0.000, 0.200] on 40 frames")
    assert (first.released, first.stands) == ("0.130", "met")
    assert (second.measured, second.released, second.stands) == ("-", "-", "does not apply")
    assert shown.against == "v1.1.0"
    assert shown.proposed.startswith("cnn; below 0.200 a part passes")


def test_a_candidate_that_would_be_refused_cannot_be_approved_and_says_why(spec):
    missed = opened("c3", criterion(passed=False, why="0.4 of 40"))
    moved = opened("c4", criterion(), released_version="v1.0.0")
    said = {one.candidate: one for one in board_of(spec, missed, moved).waiting}
    assert said["c3"].obstacle == "1 of 1 criteria are not met: 0.4 of 40"
    assert said["c3"].criteria[0].stands == "not met"
    assert said["c4"].obstacle.startswith(
        "evaluated against v1.0.0, v1.1.0 is in force: request a new candidate"
    )
    assert not any(one.can_be_approved for one in said.values())


def test_the_history_says_by_whom_and_how_that_is_known(spec):
    newest, first = board_of(spec).history
    assert newest.what == "c2 is released as v1.1.0"
    assert newest.by == "ada@plant.example (authenticated by the proxy)"
    assert first.by == "quality.lead (as typed, not authenticated)", "nothing was recorded then"


def test_one_can_go_back_to_every_version_but_the_one_in_force(spec):
    assert board_of(spec).earlier == ("v1.0.0",)
    assert board_of(spec, history=HISTORY.head(1)).earlier == ()
    empty = board_of(spec, history=Releases.create_empty())
    assert (empty.earlier, empty.in_force) == ((), "Nothing is in force yet: every part goes to people.")


def test_without_names_in_the_spec_anyone_may_decide(spec):
    anyone = board_of(spec, approval="automatic", approvers=())
    assert anyone.may_decide("eve")
    assert anyone.who_may == "anyone"
    assert not board_of(spec).may_decide("eve")
