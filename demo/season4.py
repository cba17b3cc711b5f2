"""Season 4: later poly modules, and the mono modules of season 2 again at another line, under the retrained release."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from demo.candidates import in_force
from demo.claims import counts
from demo.people import Asked, names_of, read_asked, wait_for_answers
from demo.play import AT_ONCE, Play
from demo.season3 import tell_estimates
from demo.seasons import opening
from resources.tables import Snapshot

AGAIN: Final = "line2"
"""Where the mono modules pass again: the same pictures, a later time, and no frame of them has trained."""


@dataclass(frozen=True)
class Season4:
    """What season 4 leaves besides the lake: what people were asked, and the lake once they had answered."""

    asked: Asked
    answered: Snapshot


def play_season4(play: Play, before: Sequence[Asked]) -> Season4:
    """From the first later module to the last answer. Raises StoryError when it cannot go on."""
    poly, mono, version = play.cast.poly_imaged, play.cast.later, in_force(play.watch.head())["version"]
    play.screen.chapter(
        f"Season 4. {len(poly)} later poly modules, and the {len(mono)} later mono modules again, under {version}"
    )
    shots = [*play.line(poly, opening(4)), *play.line(mono, opening(4), AGAIN)]
    play.deliver(shots, at_once=AT_ONCE)
    rows = play.inspections(4)
    play.screen.say(f"{rows.height} cells inspected: {counts(rows['verdict'])}")
    asked = read_asked(play, 4, before)
    play.vote("review-4", names_of(play, asked))
    play.screen.say("the annotators answer")
    wait_for_answers(play)
    answered = play.watch.head()
    tell_estimates(play, answered)
    return Season4(asked, answered)
