"""An explanation in a few sentences: the verdict, who decided it, what that rests on, what people say."""

from collections.abc import Iterator, Sequence

from cv_assets.evaluation.band import OperatingBand
from cv_assets.evaluation.rulings import met_in_words
from cv_assets.lookback.explanation import Row
from cv_assets.lookback.model_links import Behind
from cv_assets.lookback.verdict_links import Answers, Seen, comparison, known_class, known_since, standing
from cv_assets.lookback.words import day, moment
from cv_assets.release.history import by_whom
from cv_assets.words import counted, listed


def in_short(captures: Sequence[Seen], decided_by: Behind | None, people: Answers) -> Iterator[str]:
    """What a reader must know before anything else, sentence by sentence; `captures` begin with the newest.

    `decided_by` is what the release of the newest verdict rests on; None when none decided it.
    """
    newest, row = captures[0], captures[0].verdict
    if row is None:
        yield f"{standing(newest).capitalize()}."
    else:
        yield f"{row['verdict']} on {moment(row['decided_at'])}: {row['why']}."
        yield _who_decided(row, decided_by)
        if decided_by is not None:
            yield from _made_by(decided_by)
        yield _what_people_say(newest, row, people)
    if len(captures) > 1:
        told = (_verdict_in_short(one) for one in captures)
        yield f"{counted(len(captures), 'capture')} of this part, newest first: {'; '.join(told)}."


def _who_decided(row: Row, decided_by: Behind | None) -> str:
    if row["release"] is None:
        return "It was decided before any release could: no model looked at it, and a person has to."
    if decided_by is None:
        return f"The verdict names {row['release']}, which is not in the history of releases."
    release, unseen = decided_by.release, "" if row["scores"] else ", but no model looked at this frame"
    band = OperatingBand(release["lower"], release["upper"]).words
    return (
        f"In force was {release['version']}: {release['model']} of candidate {release['candidate']}, approved by "
        f"{by_whom(release)} on {day(release['concluded_at'])}{unseen}. By its thresholds, {band}."
    )


def _made_by(behind: Behind) -> Iterator[str]:
    if trained := behind.trained:
        labelled = f", labelled by {listed(behind.annotators)}" if behind.annotators else ""
        yield (
            f"It was trained on {counted(trained['frames'], 'frame')} of {counted(trained['groups'], 'group')}"
            f"{labelled}."
        )
    rows, judges = behind.decision.rows, behind.judges
    if rows.height:
        verified = listed(sorted(set(judges["verified_by"].drop_nulls()))) if judges.height else ""
        on = f" on {counted(judges.height, 'benchmark frame')}" if judges.height else ""
        by = f" that {verified} verified" if verified else ""
        yield f"It was judged{on}{by}: {met_in_words(rows)}."


def _what_people_say(seen: Seen, row: Row, people: Answers) -> str:
    label = people.labels.row(frame_id=row["frame_id"])
    if truth := known_class(row["frame_id"], people):
        earlier = known_since(row["frame_id"], people) < row["decided_at"]
        when = f"Since {'before it was inspected' if earlier else 'then'}"
        return f"{when} {comparison(row, truth, seen, earlier=earlier)}."
    if label is not None:
        votes = f"{counted(label['votes'], 'vote')} by {listed(label['annotators'])}"
        return f"What it really is, is not decided: {votes} so far."
    return "Nobody has answered what it really is."


def _verdict_in_short(seen: Seen) -> str:
    row = seen.verdict
    if row is None:
        return f"{moment(seen.capture['captured_at'])} no verdict yet"
    return f"{moment(seen.capture['captured_at'])} {row['verdict']} by {row['release'] or 'no release'}"
