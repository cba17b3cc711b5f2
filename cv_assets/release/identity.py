"""Who is at the door of approvals: a person whom the proxy in front authenticated, or a name that somebody typed.

The proxy proves itself with a shared secret in a header. Without that secret anyone who reaches the door could send the
headers of a login.
"""

import hmac
from collections.abc import Callable, Sequence
from typing import Final

from cv_assets.words import visible

Headers = Callable[[str], Sequence[str]]
"""The values of a request's header of this name, in lower case; none where it is not sent."""

LONGEST_NAME: Final = 200


class UnknownPersonError(PermissionError):
    """Nobody can say who asks; the message says what to do."""


def authenticated_name(headers: Headers, secret: str) -> str:
    """The person whom the proxy that knows `secret` authenticated. Raises UnknownPersonError."""
    if not _is_the_proxy(headers("x-proxy-secret"), secret):
        raise UnknownPersonError(
            "This page is there for people who logged in: open it at the address of the login. If you did, the proxy "
            "and this door have different values of CV_PROXY_SECRET."
        )
    for header in ("x-auth-request-email", "x-auth-request-user"):
        names = [name.strip() for name in headers(header)]
        if any(names):
            return _one_name(names)
    raise UnknownPersonError(
        "The login did not say who you are: let the proxy send X-Auth-Request-Email or X-Auth-Request-User."
    )


def typed_name(words: str) -> str:
    """A name that somebody typed, whoever that is. Raises UnknownPersonError when it is none."""
    return _one_name([words.strip()])


def _is_the_proxy(sent: Sequence[str], secret: str) -> bool:
    return len(sent) == 1 and hmac.compare_digest(sent[0].encode(), secret.encode())


def _one_name(names: Sequence[str]) -> str:
    if len(names) != 1:
        raise UnknownPersonError(
            "The login named more than one person: let the proxy replace what clients send."
        )
    (name,) = names
    # A name that looks like another one is nobody's.
    if not name or len(name) > LONGEST_NAME or visible(name) != name or name.lower() == "policy":
        raise UnknownPersonError(
            f"A person's name is 1 to {LONGEST_NAME} visible characters, got {visible(name)[:50]!r}."
        )
    return name
