"""What people are told is plain and whole; a channel that does not take it is named without its secrets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_listener import listening

from resources.deployments import Deployment, current
from resources.notices import (
    GIVEN_UP_AFTER,
    LONGEST_WAIT,
    SENTENCE_SHOWN,
    Channel,
    Ended,
    FailedCheck,
    Notice,
    Place,
    after_lost,
    channels,
    notice,
)

URL = "http://127.0.0.1:3000"
RUN = "1a2b3c4d-0000-0000-0000-000000000000"
NOVELTY = FailedCheck("alarms", "no_alarm_is_open", "drift-r1 is open: novelty in d12 and d13")
HELLO = Notice("Failed: retrain", "Run 1a2b3c4d failed", failed=True)


def test_a_run_that_ended_well_with_green_checks_is_not_told():
    assert notice(Ended(RUN, "receive", "d12"), "plant", URL) is None


def test_a_failed_run_is_told_with_step_error_what_to_do_and_link():
    told = notice(
        Ended(RUN, "receive", "d12", failed=True, errors=("outbox: the disk is full",)), "plant", URL
    )
    assert told == Notice(
        "[plant] Failed: receive of d12",
        "Run 1a2b3c4d failed:\n- outbox: the disk is full\n"
        "It is not tried again by itself. Read why in the run, mend it, then re-execute it from failure.\n\n"
        f"http://127.0.0.1:3000/runs/{RUN}",
        failed=True,
    )


def test_a_person_is_called_when_the_retries_are_used_up():
    told = notice(Ended(RUN, "retrain", "drift-r1-1", failed=True, retries=2, max_retries=2), "plant", URL)
    assert told.title == "[plant] A person is needed: retrain of drift-r1-1 failed 3 times"
    assert told.text.startswith(
        "Run 1a2b3c4d failed, after 2 retries\nIts retries are used up: it is not tried again by itself."
    )


def test_a_person_is_called_again_when_a_re_execution_by_hand_fails():
    told = notice(Ended(RUN, "retrain", "drift-r1-1", failed=True, max_retries=2), "plant", URL)
    assert told.title == "[plant] A person is needed: retrain of drift-r1-1 failed"


def test_a_failed_run_that_is_retried_is_not_told():
    assert notice(Ended(RUN, "retrain", failed=True, will_retry=True, max_retries=2), "plant", URL) is None


def test_a_check_of_a_run_that_is_retried_is_told_for_the_retry_does_not_ask_it_again():
    ended = Ended(RUN, "retrain", failed=True, will_retry=True, max_retries=2, checks=(NOVELTY,))
    told = notice(ended, "plant", URL)
    assert told.title == "[plant] no_alarm_is_open: retrain"
    assert "Run 1a2b3c4d failed\nDagster tries it again by itself: 1 of 2." in told.text
    assert not told.failed


def test_failed_checks_of_one_run_are_one_notice_with_asset_partition_and_sentence():
    blurred = FailedCheck("raw_frames", "few_are_rejected", "12 of 60 are rejected", "d12")
    refused = FailedCheck("label_table", "frames_are_known", "2 frames\nare unknown", refuses=True)
    told = notice(Ended(RUN, "receive", "d12", checks=(NOVELTY, blurred, refused)), "plant", URL)
    assert told.title == "[plant] no_alarm_is_open, few_are_rejected, frames_are_known: receive of d12"
    assert told.text == (
        "3 checks failed:\n"
        "- alarms, no_alarm_is_open: drift-r1 is open: novelty in d12 and d13\n"
        "- raw_frames of d12, few_are_rejected: 12 of 60 are rejected\n"
        "- label_table, frames_are_known (not published): 2 frames are unknown\n\n"
        f"http://127.0.0.1:3000/runs/{RUN}"
    )


def test_many_checks_and_long_sentences_are_cut_and_say_so():
    checks = tuple(FailedCheck("a", f"check_{number}", "x" * 1000) for number in range(13))
    text = notice(Ended(RUN, "receive", checks=checks), "plant", URL).text
    assert "check_9" in text
    assert "check_10" not in text
    assert "- and 3 more\n" in text
    assert f"{'x' * SENTENCE_SHOWN} …" in text
    assert "x" * (SENTENCE_SHOWN + 1) not in text


@pytest.mark.parametrize("urls", ["json://a json://b", "json://a,json://b", "  json://a ;\n json://b\n"])
def test_channels_are_separated_by_blanks_commas_or_semicolons(urls):
    assert [(one.number, one.url) for one in channels(urls)] == [(1, "json://a"), (2, "json://b")]


@pytest.mark.parametrize("urls", ["", "  ", ","])
def test_no_url_is_no_channel(urls):
    assert channels(urls) == []


def test_the_marks_of_many_channels_are_apart_and_hold_nothing_of_the_url():
    marks = [Channel(1, f"json://ann:hunter{number}@host/t0ken").mark for number in range(30)]
    assert len(set(marks)) == len(marks)
    assert {len(mark) for mark in marks} == {16}


def test_a_notice_arrives_as_plain_text_with_its_kind():
    with listening() as listener:
        Channel(1, f"json://{listener.address}/hook").tell(HELLO)
        Channel(1, f"json://{listener.address}/hook").tell(
            Notice("few_are_rejected", "12 <of> 60", failed=False)
        )
    assert [(one["title"], one["message"], one["type"]) for one in listener.told] == [
        ("Failed: retrain", "Run 1a2b3c4d failed", "failure"),
        ("few_are_rejected", "12 <of> 60", "warning"),
    ]


@pytest.mark.parametrize("word", ["slack", "nosuch://host", "json://"])
def test_what_is_no_url_of_apprise_is_said_by_its_number(word):
    with pytest.raises(
        ConnectionError, match=r"^Channel 3 of CV_NOTIFY is no URL that apprise can use: see https"
    ):
        Channel(3, word).tell(HELLO)


def test_a_channel_that_refuses_is_named_with_its_reason_and_without_its_secrets():
    with listening() as listener:
        listener.answer = 401
        with pytest.raises(ConnectionError) as caught:
            Channel(2, f"json://ann:hunter2@{listener.address}/t0ken/?+X-Key=k3y").tell(HELLO)
    assert str(caught.value) == (
        "Channel 2 of CV_NOTIFY (JSON) did not take a notice: Failed to send JSON POST notification: "
        "Verification Failed., error=401."
    )


def test_a_channel_that_is_not_there_is_named_without_its_address():
    with listening() as listener:
        gone = listener.address
    with pytest.raises(ConnectionError) as caught:
        Channel(1, f"json://ann:hunter2@{gone}/t0ken").tell(HELLO)
    assert str(caught.value) == (
        "Channel 1 of CV_NOTIFY (JSON) did not take a notice: "
        "A Connection error occurred sending JSON notification to …."
    )
    assert caught.value.__cause__ is None


@given(secret=st.text("abcdefXYZ0189-_%", min_size=2, max_size=12))
def test_no_part_of_a_url_is_repeated_whatever_a_service_says(secret):
    channel = Channel(1, f"slack://{secret}/B1B1B1/?x={secret}")
    said = channel._without_secrets(f"Could not reach {secret} or {secret.upper()}")
    assert secret.lower() not in said.lower()


def test_channels_are_read_from_the_environment_and_never_shown(monkeypatch, tmp_path):
    monkeypatch.setenv("CV_NOTIFY", "mailto://ann:hunter2@example.org")
    assert current().notify == "mailto://ann:hunter2@example.org"
    assert "hunter2" not in repr(current())
    assert "hunter2" not in repr(channels(current().notify))
    monkeypatch.delenv("CV_NOTIFY")
    assert current().notify == ""
    assert Deployment(tmp_path, tmp_path, "main", URL).notify == ""


def test_what_was_given_up_is_said_in_the_next_notice_that_gets_through():
    assert after_lost(HELLO, 0) == HELLO
    assert after_lost(HELLO, 2).text == (
        "Run 1a2b3c4d failed\n\n2 notices before this one could not be delivered here and were given up: look at the "
        "failed runs and checks in Dagster's UI."
    )


def test_each_refusal_waits_twice_as_long_as_the_one_before_up_to_ten_minutes():
    place, waits = Place(7), []
    for _ in range(9):
        place = place.refused(8, ended_at=1000, why="no", now=1000)
        waits.append(place.next_at - 1000)
    assert waits == [8, 16, 32, 64, 128, 256, 512, 600, 600]
    assert (place.end, place.tries, place.since, place.lost) == (7, 9, 1000, 0)


def test_a_refused_notice_says_why_how_often_and_when_it_is_tried_again():
    once = Place(7).refused(8, ended_at=0, why="No such room.", now=0)
    assert (
        once.words == "No such room. That was 1 time. It is tried again at 00:00:08 UTC; what is newer waits."
    )


@given(ages=st.lists(st.integers(0, 2 * GIVEN_UP_AFTER), min_size=1, max_size=30))
def test_no_notice_is_given_up_before_its_hour_and_none_holds_up_the_next_for_much_longer(ages):
    """Notices of runs that ended at these times, on a channel that takes none of them."""
    place, now, given_up = Place(0), 0, []
    for number, ended_at in enumerate(sorted(ages), start=1):
        now = max(now, ended_at)
        while place.end < number:
            now = max(now, place.next_at)
            place = place.refused(number, ended_at, "no", now)
        given_up.append(now - ended_at)
    assert min(given_up) >= GIVEN_UP_AFTER
    assert place.lost == len(ages)
    assert max(given_up) <= GIVEN_UP_AFTER + LONGEST_WAIT * (len(ages) + 1)
