"""What the figures of a backup and of an upgrade say; the real ones: make prove."""

import pytest

from proofs import restore, upgrade

WHOLE = {"problems": 0, "lost": 0, "meanwhile": 5, "goes on": True}
TAKEN = {
    "over": True,
    "files": 4,
    "captures": 4,
    "doubled": 0,
    "stated": 8,
    "annotations": 8,
    "deliveries": 2,
    "outbox": 2,
    "versions": 2,
    "killed": 1,
    "waiting": [],
}


def test_a_whole_backup_and_an_upgrade_that_lost_nothing_are_no_mistakes():
    assert restore.mistakes(WHOLE) == upgrade.mistakes(TAKEN) == []


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"problems": 2}, "2 problems were found."),
        ({"lost": 1}, "1 publications from before the backup are lost."),
        ({"meanwhile": 0}, "nothing was published while the backup was taken."),
        ({"goes on": False}, "nothing can be published any more."),
        ({"runs lost": 1}, "1 runs of Dagster are lost."),
    ],
    ids=str,
)
def test_each_way_a_backup_can_fail_is_told(figures, words):
    assert restore.mistakes({**WHOLE, **figures}) == [words]


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"over": False}, "it was not over after 190 s."),
        ({"captures": 3}, "3 captures of 4 files."),
        ({"doubled": 1}, "1 captures are there twice."),
        ({"annotations": 16}, "16 statements of 8."),
        ({"outbox": 3}, "3 files in the outbox for 2 deliveries."),
        ({"versions": 1}, "only 1 code versions took part."),
        ({"killed": 0}, "no run was in flight when the code server was killed."),
        ({"waiting": ["receive"]}, "runs wait for a person: ['receive']."),
    ],
    ids=str,
)
def test_each_way_an_upgrade_can_lose_something_is_told(figures, words):
    assert upgrade.mistakes({**TAKEN, **figures}) == [words]
