"""What a server says is said to people as it is."""

from types import SimpleNamespace

import pytest
from lakefs.exceptions import ForbiddenException
from lakefs_sdk.exceptions import ApiException

from resources import lakefs_connection
from resources.lake import LakeError, LakeUnreachableError
from resources.lakefs_connection import Body, Connection, Record, ask, in_words, upload


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (
            ForbiddenException(403, "Forbidden", '{"message": "the branch is protected"}'),
            "the branch is protected",
        ),
        (ApiException(status=500, reason="Internal"), "code: 500, reason: Internal"),
    ],
)
def test_what_nobody_expects_of_a_server_is_told_in_its_own_words(refusal, told):
    with pytest.raises(LakeError, match=f"lakeFS refuses at http://lake: {told}"), in_words("http://lake"):
        raise refusal


TO = Connection("http://lake", "key", "secret", "repository", "local://repository")


@pytest.fixture
def server(monkeypatch):
    """Answers all with a page, once it has read what was sent."""

    def answer(*_, body=None, **__):
        b"".join(body or ())
        return SimpleNamespace(status=200, headers={"Content-Type": "text/html"}, data=b"<html>", reason="OK")

    monkeypatch.setattr(lakefs_connection, "_pool", lambda _: SimpleNamespace(request=answer))
    return SimpleNamespace(config=SimpleNamespace(host="http://lake/api/v1"))


def test_what_reads_and_gets_another_programs_page_is_told_so(server):
    with pytest.raises(LakeUnreachableError, match="correct LAKEFS_ENDPOINT"):
        ask(server, TO, "GET", "branches")
    assert ask(server, TO, "POST", "branches") is None


@pytest.mark.parametrize("sent", [[b"ab"], [b"ab", b"cd"]])
def test_a_file_that_changed_while_it_was_uploaded_is_told_of(server, sent):
    with pytest.raises(OSError, match="'a/path' changed while it was uploaded"):
        upload(server, TO, "branch", "a/path", Body(iter(sent), 3), {})
    upload(server, TO, "branch", "a/path", Body(iter([b"ab", b"c"]), 3), {})


def test_what_an_answer_must_state_is_missed():
    assert Record(path="a").right is None
    with pytest.raises(LakeError, match="lacks 'path'"):
        _ = Record().path
