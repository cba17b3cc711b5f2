import importlib.util

import pytest

from demo.cast import SEED, STRATA, Cast, cast
from demo.modules import Module, read_modules


def empty(number: int) -> Module:
    return Module(number, "mono", ())


def test_golden_modules_are_imaged_between_the_others_and_later_ones_are_not_in_season_1():
    parts = Cast(
        train=(empty(9), empty(1)),
        golden=(empty(5),),
        later=(empty(2),),
        poly_relabelled=(),
        poly_golden=(),
        poly_later=(),
        poly_imaged=(),
    )
    assert [one.number for one in parts.first_season] == [1, 5, 9]


def test_poly_golden_modules_are_imaged_between_those_that_are_relabelled():
    parts = Cast(
        (),
        (),
        (),
        poly_relabelled=(empty(4), empty(2)),
        poly_golden=(empty(3),),
        poly_later=(),
        poly_imaged=(),
    )
    assert [one.number for one in parts.third_season] == [2, 3, 4]


@pytest.mark.elpv
@pytest.mark.skipif(
    importlib.util.find_spec("elpv_dataset") is None,
    reason='the ELPV images are not installed: pip install --editable ".[demo]"',
)
class TestElpv:
    def test_the_cast_is_the_one_drawn_with_seed_0(self):
        # Drawn before anything was trained. It stays, whatever the figures say.
        assert SEED == 0
        assert STRATA == 3
        drawn = cast(read_modules())
        assert {one.number for one in drawn.golden} == {18, 23, 36}
        assert {one.number for one in drawn.later} == {8, 15, 20, 40}
        assert {one.number for one in drawn.train} == {0, 6, 7, 16, 17, 19, 21, 22, 24, 25, 26}
        assert {one.number for one in drawn.poly_golden} == {4, 12, 29}
        assert {one.number for one in drawn.poly_relabelled} == {1, 2, 10, 13, 30, 33, 37, 43}
        assert len(drawn.poly_later) == 15
        assert len(drawn.poly_imaged) == 6
        assert set(drawn.poly_imaged) < set(drawn.poly_later)

    def test_every_role_of_the_cast_sees_every_stratum(self):
        modules = read_modules()
        for product, roles in {
            "mono": ("train", "golden", "later"),
            "poly": ("poly_relabelled", "poly_golden", "poly_later", "poly_imaged"),
        }.items():
            ranked = sorted(
                (one for one in modules if one.product == product),
                key=lambda one: (one.defect_rate, one.number),
            )
            stratum = {one.number: rank * 3 // len(ranked) for rank, one in enumerate(ranked)}
            for role in roles:
                assert {stratum[one.number] for one in getattr(cast(modules), role)} == {0, 1, 2}, role
