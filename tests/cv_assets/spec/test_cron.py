"""What the spec takes as a cron expression, Dagster's scheduler takes too."""

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cv_assets.spec.cron import cron_mistake
from cv_assets.spec.load import SpecError, load_spec

FIELDS = "minute, hour, day of month, month, day of week"
NUMBERS = st.integers(0, 60).map(str)
ENDS = NUMBERS | st.sampled_from(["jan", "DEC", "mon", "Sun", "x", "", "L", "mon#1"])
TERMS = st.one_of(
    st.just("*"),
    ENDS,
    st.tuples(ENDS, ENDS).map("-".join),
    st.tuples(st.just("*") | st.tuples(NUMBERS, NUMBERS).map("-".join), NUMBERS).map("/".join),
)
EXPRESSIONS = st.lists(st.lists(TERMS, min_size=1, max_size=2).map(",".join), min_size=4, max_size=6)


@pytest.mark.parametrize(
    "expression",
    [
        "0 5 1 * *",
        "*/15 * * * *",
        "0 22 * * 1-5",
        "0 22 * * mon-fri",
        "30 4 1,15 jan-jun/2 *",
        "0 0 29 2 *",
        "0 5 * * 7",
    ],
)
def test_common_expressions_are_taken(expression):
    assert cron_mistake(expression) == ""


@pytest.mark.parametrize(
    ("expression", "mistake"),
    [
        ("@daily", f"expected the five fields of a cron expression ({FIELDS}), such as `0 5 1 * *`, got 1"),
        (
            "0 5 1 * * *",
            f"expected the five fields of a cron expression ({FIELDS}), such as `0 5 1 * *`, got 6",
        ),
        (
            "60 5 1 * *",
            "expected 0 to 59, `*` or a range, with `/n` or commas if you like, as minute, got `60`",
        ),
        (
            "0 5 * * fryday",
            "expected 0 to 7 or sun to sat, `*` or a range, with `/n` or commas if you like, as day of week, "
            "got `fryday`",
        ),
        (
            "0 5-3 * * *",
            "expected 0 to 23, `*` or a range, with `/n` or commas if you like, as hour, got `5-3`",
        ),
        (
            "*/0 * * * *",
            "expected 0 to 59, `*` or a range, with `/n` or commas if you like, as minute, got `*/0`",
        ),
        ("0 0 31 2,4 *", "expected a day that comes: none of its months has a day 31"),
    ],
)
def test_a_wrong_expression_is_told_with_its_field(expression, mistake):
    assert cron_mistake(expression) == mistake


@given(EXPRESSIONS)
def test_what_the_spec_takes_dagster_takes(fields):
    expression = " ".join(fields)
    if not cron_mistake(expression):
        assert dg.ScheduleDefinition(job_name="retrain", cron_schedule=expression).cron_schedule == expression


@given(st.tuples(*[st.integers(low, high) for low, high in ((0, 59), (0, 23), (1, 28), (1, 12), (0, 7))]))
def test_every_plain_time_is_taken(numbers):
    assert cron_mistake(" ".join(map(str, numbers))) == ""


def test_a_wrong_schedule_is_a_mistake_of_the_spec_with_its_line_key_and_value(deployment):
    text = deployment.spec_file.read_text("utf-8")
    deployment.spec_file.write_text(
        text.replace("retraining:\n", "retraining:\n  schedule: at five\n"), "utf-8"
    )
    line = next(number for number, one in enumerate(text.splitlines(), start=1) if one == "retraining:") + 1
    with pytest.raises(SpecError) as told:
        load_spec(deployment.spec_file)
    assert str(told.value).endswith(
        f':{line}: retraining.schedule: got "at five", expected the five fields of a cron expression ({FIELDS}), such '
        "as `0 5 1 * *`, got 2"
    )
