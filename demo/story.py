"""The story: four seasons, then what is claimed of them."""

import json
from pathlib import Path

from demo.cast import SEED
from demo.claims import Claim, claims
from demo.loop_claims import loop_claims
from demo.outcomes import Played, inspected, loop, outcome, told
from demo.play import Play
from demo.season1 import play_season1
from demo.season2 import play_season2
from demo.season3 import play_season3
from demo.season4 import play_season4
from demo.telling import numbers, tell
from demo.verdict_claims import verdict_claims


def play_story(play: Play, file: Path) -> bool:
    """All seasons, then `story.json` and the tables; whether every claim holds. Raises StoryError.

    Without a release there is no next season: the story then ends with what was missed, and does not hold.
    """
    played = _play(play)
    checked, figures = _checked(play, played), told(play, played)
    in_numbers = numbers(figures, checked, seed=SEED, seconds=play.screen.seconds)
    file.write_text(json.dumps(in_numbers, indent=2) + "\n")
    tell(play.screen, figures, checked, in_numbers)
    return all(claim.holds for claim in checked)


def _play(play: Play) -> Played:
    if not play_season1(play):
        return Played()
    second = play_season2(play)
    third = play_season3(play, [second.asked])
    if not (third.released and third.asked):
        return Played(second, third)
    return Played(second, third, play_season4(play, [second.asked, third.asked]))


def _checked(play: Play, played: Played) -> list[Claim]:
    checked = claims(outcome(play))
    if played.second is not None:
        checked += verdict_claims(inspected(play, played))
    if played.fourth is not None:
        return checked + loop_claims(loop(play, played))
    return [*checked, Claim("all four seasons are played", holds=False, seen=played.why_it_ended)]
