"""Who is at the door: the proxy's word when it proves itself, and never that of who only sends its headers."""

import pytest

from cv_assets.release.identity import UnknownPersonError, authenticated_name, typed_name

SHARED = "the secret that the proxy shares with the door"


def headers(**sent: object):
    """`headers(x_proxy_secret="…")`: one value each, or a list of them."""
    values = {name.replace("_", "-"): one if isinstance(one, list) else [one] for name, one in sent.items()}
    return lambda name: values.get(name, [])


def test_the_proxy_says_who_logged_in_by_mail_address_or_else_by_name():
    mail = {"x_auth_request_email": "ada@plant.example", "x_auth_request_user": "ada"}
    assert authenticated_name(headers(x_proxy_secret=SHARED, **mail), SHARED) == "ada@plant.example"
    assert authenticated_name(headers(x_proxy_secret=SHARED, x_auth_request_user="ada"), SHARED) == "ada"
    no_mail = headers(x_proxy_secret=SHARED, x_auth_request_email="", x_auth_request_user="ada")
    assert authenticated_name(no_mail, SHARED) == "ada"


@pytest.mark.parametrize(
    "sent", [{}, {"x_proxy_secret": "x"}, {"x_proxy_secret": [SHARED, SHARED]}, {"x_proxy_secret": "é"}]
)
def test_headers_of_a_login_count_for_nothing_without_the_proxy_s_secret(sent):
    with pytest.raises(UnknownPersonError, match="open it at the address of the login"):
        authenticated_name(headers(x_auth_request_email="ada@plant.example", **sent), SHARED)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({}, "did not say who you are"),
        ({"x_auth_request_email": ["ada@plant.example", "bob@plant.example"]}, "named more than one person"),
        ({"x_auth_request_email": "ada\u202e@plant.example"}, "1 to 200 visible characters"),
        ({"x_auth_request_email": "a" * 201}, "1 to 200 visible characters"),
        ({"x_auth_request_user": "policy"}, "1 to 200 visible characters"),
    ],
)
def test_a_login_that_names_nobody_in_particular_is_refused(sent, words):
    with pytest.raises(UnknownPersonError, match=words):
        authenticated_name(headers(x_proxy_secret=SHARED, **sent), SHARED)


def test_a_typed_name_is_at_least_a_name():
    assert typed_name("  Ada Lovelace ") == "Ada Lovelace"
    with pytest.raises(UnknownPersonError, match="A person's name is 1 to 200 visible characters, got ''"):
        typed_name("  ")
