"""What a pattern reads from a file name."""

import re

import pytest

from cv_assets.spec.file_names import group_reads, misreading, time_format_error


@pytest.mark.parametrize(
    ("pattern", "value", "reads"),
    [
        (r"(?P<kind>mono|poly)_(?P<part>\d+)", "mono", True),
        (r"(?P<kind>mono|poly)_(?P<part>\d+)", "mon", False),
        (r"(?P<part>\d+)_(?P<kind>(a|b)(c|d))\.png", "ad", True),
        (r"(?P<part>\d+)_(?P<kind>(a|b)(c|d))\.png", "a", False),
        (r"(?P<kind>[()]+)(?P<part>x)", "()", True),
        (r"(?P<kind>[^)\]]+\))(?P<part>x)", "a)", True),
        (r"(?P<kind>\(\w+\))(?P<part>x)", "(a)", True),
        (r"(?i)(?P<part>x)(?P<kind>mono)", "MONO", True),
        (r"(?P<part>x)(?P<kind>(?P=part)y)", "anything", True),
    ],
)
def test_a_group_is_read_by_itself(pattern, value, reads):
    assert group_reads(pattern, "kind", value) is reads


def test_a_name_must_be_matched_whole_and_its_time_and_count_read():
    pattern = re.compile(r"(?P<part>\w)_(?P<time>\d+)_(?P<count>\w+)")
    assert misreading("a_20260302_60", pattern, "%Y%m%d") == ""
    assert misreading("a_20260302_60.png", pattern, "%Y%m%d") == "`file_name` does not match it"
    assert "reads 'many'" in misreading("a_20260302_many", pattern, "%Y%m%d")
    assert "its `time` '20261302'" in misreading("a_20261302_60", pattern, "%Y%m%d")
    assert misreading("a_20261302_60", pattern, None) == ""


@pytest.mark.parametrize("good", ["%Y%m%dT%H%M%S", "%y-%j", "%d.%m.%Y %I%p", "%Y-%m-%dT%H:%M:%S.%f"])
def test_a_time_format_reads_a_date(good):
    assert time_format_error(good) == ""


@pytest.mark.parametrize("bad", ["%H%M%S", "%Y%m", "no date", "%Y%m%d%"])
def test_a_time_format_without_a_date_is_told(bad):
    assert "expected a strptime format" in time_format_error(bad)
