"""Notices: what people are told of a run that ended, and the channels that carry it.

A channel is a URL of apprise (https://appriseit.com). It holds passwords and tokens: nothing of it is ever repeated.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Final
from urllib.parse import unquote

CHECKS_SHOWN: Final = 10
SENTENCE_SHOWN: Final = 400
"""Characters of what a check or an error says; the run has it whole."""

SECONDS: Final = 10.0
"""After this a channel that does not answer did not take the notice."""

FIRST_WAIT: Final = 8
LONGEST_WAIT: Final = 600
"""Seconds until a channel that took nothing is tried again: twice as many each time, up to the longest. A channel of
several receivers takes nothing when one of them refuses, and the others get the notice at each try."""

GIVEN_UP_AFTER: Final = 3600
"""Seconds: a notice so old, on a channel that took nothing for so long, makes room for the next."""


@dataclass(frozen=True)
class FailedCheck:
    """A check that failed, and what it said. One that refuses kept its table from being published."""

    asset: str
    name: str
    sentence: str
    partition: str | None = None
    refuses: bool = False


@dataclass(frozen=True)
class Ended:
    """A run that ended: its errors, each with its step, and those of its failed checks that are news.

    `retries` counts how often it has been tried again before, `max_retries` how often it may be.
    """

    run_id: str
    what: str
    partition: str | None = None
    failed: bool = False
    will_retry: bool = False
    retries: int = 0
    max_retries: int = 0
    errors: tuple[str, ...] = ()
    checks: tuple[FailedCheck, ...] = ()


@dataclass(frozen=True)
class Notice:
    """What is told: a title, and plain text."""

    title: str
    text: str
    failed: bool


def notice(ended: Ended, project: str, dagster_url: str) -> Notice | None:
    """What people are told of this run of the project; None when there is nothing to tell.

    A failed run that Dagster tries again is told only when a check failed in it: the retry starts at the failed step
    and does not ask that check again.
    """
    final = ended.failed and not ended.will_retry
    if not final and not ended.checks:
        return None
    paragraphs = [
        *([_failure(ended)] if ended.failed else []),
        *([_checks(ended.checks)] if ended.checks else []),
        f"{dagster_url}/runs/{ended.run_id}",
    ]
    return Notice(f"[{project}] {_title(ended, final)}", "\n\n".join(paragraphs), final)


def _title(ended: Ended, final: bool) -> str:
    about = f"{ended.what}{f' of {ended.partition}' if ended.partition else ''}"
    if final and ended.max_retries:
        times = f" {ended.retries + 1} times" if ended.retries else ""
        return f"A person is needed: {about} failed{times}"
    if final:
        return f"Failed: {about}"
    names = dict.fromkeys(check.name for check in ended.checks)
    return f"{', '.join(list(names)[:3])}{' …' * (len(names) > 3)}: {about}"


def _failure(ended: Ended) -> str:
    errors = "".join(f"\n- {_short(error)}" for error in ended.errors)
    return f"Run {ended.run_id[:8]} failed{_after(ended)}{':' * bool(errors)}{errors}\n{_what_next(ended)}"


def _after(ended: Ended) -> str:
    return f", after {_count(ended.retries, 'retry', 'retries')}" if ended.retries else ""


def _what_next(ended: Ended) -> str:
    if ended.will_retry:
        return f"Dagster tries it again by itself: {ended.retries + 1} of {ended.max_retries}."
    used_up = "Its retries are used up: it is" if ended.max_retries else "It is"
    return (
        f"{used_up} not tried again by itself. Read why in the run, mend it, then re-execute it from failure."
    )


def _checks(checks: Sequence[FailedCheck]) -> str:
    lines = [f"{_count(len(checks), 'check', 'checks')} failed:"]
    lines += [f"- {_check(check)}" for check in checks[:CHECKS_SHOWN]]
    if len(checks) > CHECKS_SHOWN:
        lines.append(f"- and {len(checks) - CHECKS_SHOWN} more")
    return "\n".join(lines)


def _check(check: FailedCheck) -> str:
    asset = f"{check.asset} of {check.partition}" if check.partition else check.asset
    refused = " (not published)" if check.refuses else ""
    return f"{asset}, {check.name}{refused}: {_short(check.sentence)}"


def _short(sentence: str) -> str:
    line = " ".join(sentence.split())
    return line if len(line) <= SENTENCE_SHOWN else f"{line[:SENTENCE_SHOWN]} …"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


@dataclass(frozen=True)
class Place:
    """How far a channel was told, and how it fares since it last took a notice. Times are seconds since 1970.

    `end` is the newest end of a run that it was told of, or that was no news. Since `since` it took nothing, `tries`
    times; nothing is sent before `next_at`; `lost` notices were given up; `why` is what was said last.
    """

    end: int
    tries: int = 0
    since: float = 0.0
    next_at: float = 0.0
    lost: int = 0
    why: str = ""

    def refused(self, end: int, ended_at: float, why: str, now: float) -> "Place":
        """After the channel did not take the notice of that end; one that is given up counts as told, and as lost."""
        since = self.since or now
        wait = min(FIRST_WAIT * 2 ** min(self.tries, 10), LONGEST_WAIT)
        given_up = min(now - since, now - ended_at) >= GIVEN_UP_AFTER
        return Place(
            end=end if given_up else self.end,
            tries=self.tries + 1,
            since=since,
            next_at=now + wait,
            lost=self.lost + given_up,
            why=why,
        )

    @property
    def words(self) -> str:
        """How the channel fares that took nothing lately."""
        times = _count(self.tries, "time", "times in a row")
        lost = f", {_count(self.lost, 'notice is', 'notices are')} given up" if self.lost else ""
        next_at = datetime.fromtimestamp(self.next_at, UTC)
        return f"{self.why} That was {times}{lost}. It is tried again at {next_at:%H:%M:%S} UTC; what is newer waits."


def after_lost(notice: Notice, lost: int) -> Notice:
    """The notice, which also says how many before it were given up."""
    if not lost:
        return notice
    said = (
        f"{_count(lost, 'notice', 'notices')} before this one could not be delivered here and "
        f"{'was' if lost == 1 else 'were'} given up: look at the failed runs and checks in Dagster's UI."
    )
    return replace(notice, text=f"{notice.text}\n\n{said}")


@cache
def _mark(url: str) -> str:
    return hashlib.scrypt(url.encode(), salt=b"CV_NOTIFY", n=2**14, r=8, p=1, dklen=8).hex()


@dataclass(frozen=True)
class Channel:
    """One URL of `CV_NOTIFY`, known to people by its number there."""

    number: int
    url: str = field(repr=False)

    @property
    def mark(self) -> str:
        """Tells it from the others. People see it in the sensor's cursor: guessing a password by it is slow."""
        return _mark(self.url)

    def tell(self, notice: Notice) -> None:
        """Send it. Raises ConnectionError when the channel did not take it."""
        import apprise

        service = apprise.Apprise(asset=apprise.AppriseAsset(app_id="cv-assets", app_desc="cv-assets"))
        if not service.add(self.url):
            raise ConnectionError(
                f"Channel {self.number} of CV_NOTIFY is no URL that apprise can use: see https://appriseit.com."
            )
        kind = apprise.NotifyType.FAILURE if notice.failed else apprise.NotifyType.WARNING
        result = service.notify(
            notice.text, notice.title, kind, body_format=apprise.NotifyFormat.TEXT, timeout=SECONDS
        )
        if not result:
            said = " ".join(one.message for one in result.logs() if one.level in ("WARNING", "ERROR"))
            name = service[0].service_name
            raise ConnectionError(
                f"Channel {self.number} of CV_NOTIFY ({name}) did not take a notice: "
                f"{self._without_secrets(said) or 'no reason given'}"
            )

    def _without_secrets(self, text: str) -> str:
        """`text` without any part of the URL but its scheme: each of them may be a password or a token."""
        _, _, address = self.url.partition("://")
        parts = {part for one in (address, unquote(address)) for part in re.split(r"[/:@?&=#,\s]+", one)}
        secrets = [re.escape(part) for part in sorted(parts, key=len, reverse=True) if len(part) > 1]
        return _short(re.sub("|".join(secrets), "…", text, flags=re.IGNORECASE) if secrets else text)


def channels(urls: str) -> list[Channel]:
    """The channels in `urls`, which may be separated by blanks, commas or semicolons."""
    from apprise.utils.parse import parse_urls

    split: list[str] = parse_urls(urls)  # type: ignore[no-untyped-call]
    return [Channel(number, url) for number, url in enumerate(split, start=1)]
