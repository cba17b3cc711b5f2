"""Forms that only the person who was shown them can send: against other sites that send them in a person's name."""

import urllib.parse
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Final

from itsdangerous import BadData, SignatureExpired, URLSafeTimedSerializer
from pydantic import TypeAdapter, ValidationError

from cv_assets.release.approval import SIGNED_BY
from cv_assets.release.identity import Headers
from cv_assets.words import visible

LARGEST_BODY: Final = 16 * 1024
"""Bytes of what a form sends."""

LONGEST_WHY: Final = 2000

_SHOWN_FOR: Final = 12 * 3600
"""Seconds; a page that was opened in the morning can be sent in the evening."""


class BadFormError(ValueError):
    """A form that is not taken; the message says what to do, and `status` is HTTP's word for it."""

    def __init__(self, message: str, status: int = 403) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Shown:
    """What a form was about when it was shown: to whom, which candidate (empty: to roll back), and `Approval.seen`."""

    name: str
    candidate: str
    seen: str


_SHOWN: Final = TypeAdapter(Shown)


def refuse_other_sites(headers: Headers) -> None:
    """Raise BadFormError unless the browser says that the form was sent from a page of this site.

    Browsers let no page change Sec-Fetch-Site or Origin. The first counts, for a proxy may change the host; plain http
    to another machine sends only the second.
    """
    fetched, origins, hosts = headers("sec-fetch-site"), headers("origin"), headers("host")
    if fetched:
        allowed = list(fetched) == ["same-origin"]
    else:
        allowed = len(origins) == 1 and [urllib.parse.urlsplit(origins[0]).netloc] == list(hosts)
    if not allowed:
        raise BadFormError("This form was not sent from a page of this door: open the door and decide there.")


def token_of(shown: Shown, key: str) -> str:
    """What a form carries so that nobody else can have made it."""
    return _serializer(key).dumps(asdict(shown))


def shown_by(token: str, key: str, name: str) -> Shown:
    """What the form with this token was about. Raises BadFormError for one that was shown to another than `name`."""
    try:
        shown = _SHOWN.validate_python(_serializer(key).loads(token, max_age=_SHOWN_FOR))
    except SignatureExpired:
        raise BadFormError("This page was opened too long ago: load it again and decide then.") from None
    except (BadData, ValidationError):
        raise BadFormError(
            "This form is not one that the door showed: load the page again and decide then."
        ) from None
    if shown.name != name:
        raise BadFormError(
            f"This form was shown to somebody else than {name}: load the page again and decide then."
        )
    return shown


async def fields_of(body: AsyncIterator[bytes]) -> dict[str, str]:
    """What a browser sent of a form, the last of each name. Raises BadFormError for more than `LARGEST_BODY`."""
    received = b""
    async for chunk in body:
        received += chunk
        if len(received) > LARGEST_BODY:
            raise BadFormError(f"A form has at most {LARGEST_BODY // 1024} kB: say it in fewer words.", 413)
    try:
        return dict(urllib.parse.parse_qsl(received.decode("ascii"), max_num_fields=20))
    except ValueError:
        raise BadFormError("This is not what a form sends: load the page again.", 400) from None


def reason_in(fields: dict[str, str]) -> str:
    """The reason that was given, on one line; may be empty. Raises BadFormError for a very long one."""
    why = visible(fields.get("why", ""))
    if len(why) > LONGEST_WHY:
        raise BadFormError(
            f"A reason has at most {LONGEST_WHY} characters, got {len(why)}: say it in fewer words.", 400
        )
    return why


def _serializer(key: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(key, salt="cv_assets.release.forms", signer_kwargs=SIGNED_BY)
