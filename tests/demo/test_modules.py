import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.cast import MONO_SHARES, POLY_SHARES
from demo.modules import LICENCE, MODULE_SIZES, Cell, Module, draw, read_modules

elpv = [
    pytest.mark.elpv,
    pytest.mark.skipif(
        importlib.util.find_spec("elpv_dataset") is None,
        reason='the ELPV images are not installed: pip install --editable ".[demo]"',
    ),
]


def module(number: int, defective: int, product: str = "mono") -> Module:
    """A module of ten cells, so many of them defective."""
    cells = tuple(Cell(number, place, float(place < defective), Path(f"{place}.png")) for place in range(10))
    return Module(number, product, cells)


def test_the_inferred_modules_are_44_and_use_up_all_2624_cells():
    assert len(MODULE_SIZES) == 44
    assert sum(MODULE_SIZES) == 2624


def test_a_cell_is_defective_when_the_expert_held_a_defect_more_likely_than_not():
    verdicts = [Cell(0, 0, probability, Path("x.png")).defective for probability in (0.0, 1 / 3, 2 / 3, 1.0)]
    assert verdicts == [False, False, True, True]


def test_the_licence_says_what_is_not_allowed_and_what_to_cite():
    assert "CC BY-NC-SA 4.0" in LICENCE
    assert "no commercial use" in LICENCE
    assert "10.4229/35thEUPVSEC20182018-5CV.3.15" in LICENCE


def test_a_labels_file_of_another_size_is_refused(tmp_path: Path):
    labels = tmp_path / "labels.csv"
    labels.write_text("images/cell0001.png  1.0  mono\n")
    with pytest.raises(ValueError, match="must list 2624 cells, got 1"):
        read_modules(labels)


def test_a_module_of_two_cell_types_is_refused(tmp_path: Path):
    labels = tmp_path / "labels.csv"
    rows = [f"images/{row}.png  1.0  {'mono' if row % 2 else 'poly'}" for row in range(2624)]
    labels.write_text("\n".join(rows))
    with pytest.raises(ValueError, match=r"one cell type, got \['mono', 'poly'\]"):
        read_modules(labels)


def test_every_role_gets_modules_of_low_middle_and_high_defect_rate():
    modules = [module(number, defective=number // 2) for number in range(18)]
    drawn = draw(modules, MONO_SHARES, strata=3, seed=0)
    strata = {role: {one.number // 6 for one in members} for role, members in drawn.items()}
    assert strata == {"train": {0, 1, 2}, "golden": {0, 1, 2}, "later": {0, 1, 2}}


@given(st.permutations([module(number, defective=number % 11) for number in range(26)]))
def test_the_draw_does_not_depend_on_the_order_of_the_modules(modules: list[Module]):
    ordered = sorted(modules, key=lambda one: one.number)
    assert draw(modules, POLY_SHARES, strata=3, seed=0) == draw(ordered, POLY_SHARES, strata=3, seed=0)


@given(seed=st.integers(0, 1000))
def test_every_module_plays_exactly_one_part(seed: int):
    modules = [module(number, defective=number % 11) for number in range(26)]
    drawn = draw(modules, POLY_SHARES, strata=3, seed=seed)
    assert {role: len(members) for role, members in drawn.items()} == POLY_SHARES
    assert sorted(one.number for members in drawn.values() for one in members) == list(range(26))


def test_another_seed_deals_otherwise():
    modules = [module(number, defective=number // 2) for number in range(18)]
    assert draw(modules, MONO_SHARES, strata=3, seed=0) != draw(modules, MONO_SHARES, strata=3, seed=1)


def test_shares_that_do_not_use_up_the_modules_are_refused():
    with pytest.raises(ValueError, match="must sum to the 2 modules"):
        draw([module(0, 1), module(1, 2)], {"train": 1}, strata=1, seed=0)


class TestElpv:
    pytestmark = elpv

    def test_there_are_18_mono_and_26_poly_modules_of_the_known_sizes(self):
        modules = read_modules()
        assert [one.product for one in modules].count("mono") == 18
        assert [one.product for one in modules].count("poly") == 26
        assert tuple(len(one.cells) for one in modules) == MODULE_SIZES
        assert sum(one.product == "mono" for one in modules for _ in one.cells) == 1074

    def test_every_picture_is_there(self):
        assert all(cell.image.is_file() for one in read_modules() for cell in one.cells)

    def test_the_probabilities_are_the_experts_four_steps(self):
        steps = {round(cell.probability * 3, 6) for one in read_modules() for cell in one.cells}
        assert steps == {0.0, 1.0, 2.0, 3.0}
