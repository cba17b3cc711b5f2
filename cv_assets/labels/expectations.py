"""The table rules of the label table: one expectation each, whose parameters the spec fills in.

Names and questions are known here without the library, which takes seconds to import; `validation` uses them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cv_assets.spec.schema import Spec


@dataclass(frozen=True)
class Expectation:
    """One expectation of the library, named and asked for people. `status` limits it to such rows."""

    name: str
    asks: str
    kind: str
    arguments: Callable[[Spec], dict[str, Any]]
    status: str | None = None
    blocking: bool = True


@dataclass(frozen=True)
class Outcome:
    """How an expectation turned out: how many of `checked` rows broke it, some of their frames, what is missing."""

    name: str
    passed: bool
    checked: int
    unexpected: int
    examples: tuple[str, ...]
    missing: tuple[str, ...]


EXPECTATIONS: Final = (
    Expectation(
        "frame_ids_are_given",
        "Does every label name its frame?",
        "ExpectColumnValuesToNotBeNull",
        lambda _: {"column": "frame_id"},
    ),
    Expectation(
        "frame_ids_are_unique",
        "Does every frame have one label only?",
        "ExpectColumnValuesToBeUnique",
        lambda _: {"column": "frame_id"},
    ),
    Expectation(
        "frames_are_known",
        "Did every labelled frame arrive with a delivery?",
        "ExpectColumnValuesToBeInSet",
        lambda _: {"column": "frame_is_known", "value_set": [True]},
    ),
    Expectation(
        "frames_are_not_in_the_benchmark",
        "Is no golden or challenge frame among those that train?",
        "ExpectColumnValuesToBeInSet",
        lambda _: {"column": "frame_is_in_benchmark", "value_set": [False]},
    ),
    Expectation(
        "labels_are_classes_of_the_spec",
        "Is every label one of the spec's classes?",
        "ExpectColumnValuesToBeInSet",
        lambda spec: {"column": "label", "value_set": list(spec.class_names)},
    ),
    Expectation(
        "agreed_frames_have_a_label",
        "Does every agreed frame have a class?",
        "ExpectColumnValuesToNotBeNull",
        lambda _: {"column": "label"},
        status="agreed",
    ),
    Expectation(
        "frames_in_review_have_no_label",
        "Is no class guessed for a frame that waits for people?",
        "ExpectColumnValuesToBeNull",
        lambda _: {"column": "label"},
        status="review",
    ),
    Expectation(
        "agreed_frames_have_enough_votes",
        "Does every agreed frame have at least the votes that the spec asks for?",
        "ExpectColumnValuesToBeBetween",
        lambda spec: {"column": "votes", "min_value": spec.labels.consensus.min_votes},
        status="agreed",
    ),
    Expectation(
        "agreed_frames_agree_enough",
        "Does the class of every agreed frame have at least the share of votes that the spec asks for?",
        "ExpectColumnValuesToBeBetween",
        lambda spec: {
            "column": "agreement",
            "min_value": spec.labels.consensus.min_agreement,
        },
        status="agreed",
    ),
    Expectation(
        "every_vote_has_its_annotator",
        "Did each annotator vote once on a frame?",
        "ExpectColumnPairValuesToBeEqual",
        lambda _: {"column_A": "votes", "column_B": "annotators"},
    ),
    Expectation(
        "every_class_has_a_label",
        "Is there an agreed frame of every class?",
        "ExpectColumnDistinctValuesToContainSet",
        lambda spec: {"column": "label", "value_set": list(spec.class_names)},
        blocking=False,
    ),
)
