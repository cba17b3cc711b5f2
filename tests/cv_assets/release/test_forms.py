"""Forms: what browsers say of where one came from, and for how long it is good."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.release import forms
from cv_assets.release.forms import BadFormError, Shown, reason_in, refuse_other_sites, shown_by, token_of

KEY = "a key that nobody guesses, for tests"
SHOWN = Shown("ada", "c3", "commit-1")


def headers(**sent: str):
    return lambda name: [sent[key]] if (key := name.replace("-", "_")) in sent else []


@pytest.mark.parametrize(
    "sent",
    [
        {"sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "same-origin", "origin": "https://plant.example", "host": "approvals:3070"},
        {"origin": "http://plant.example:3070", "host": "plant.example:3070"},
    ],
)
def test_a_form_of_the_door_s_own_page_is_taken(sent):
    refuse_other_sites(headers(**sent))


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"host": "plant.example"},
        {"origin": "null", "host": "plant.example"},
        {"origin": "https://plant.example.evil.example", "host": "plant.example"},
        {"origin": "https://evil.example", "host": "plant.example"},
        {"sec_fetch_site": "cross-site", "origin": "https://plant.example", "host": "plant.example"},
    ],
)
def test_a_form_that_does_not_say_so_is_not(sent):
    with pytest.raises(BadFormError, match="was not sent from a page of this door"):
        refuse_other_sites(headers(**sent))


def test_a_form_is_good_for_a_working_day(monkeypatch):
    token = token_of(SHOWN, KEY)
    assert shown_by(token, KEY, "ada") == SHOWN
    monkeypatch.setattr(forms, "_SHOWN_FOR", -1)
    with pytest.raises(BadFormError, match="opened too long ago: load it again"):
        shown_by(token, KEY, "ada")


@given(st.text(max_size=60))
def test_a_token_that_the_door_did_not_make_is_refused(words):
    with pytest.raises(BadFormError, match="not one that the door showed"):
        shown_by(words, KEY, "ada")


def test_a_reason_is_one_line_of_what_can_be_seen():
    assert reason_in({"why": " first line\r\nsecond\u202e "}) == "first line second\ufffd"
