"""Which histories crossed, by small pictures of them: a commit names its parents, oldest first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.lakefs_history import Node, has_crossed


def look_up(parents):
    nodes = {}
    for commit, above in parents.items():
        nodes[commit] = Node(1 + max((nodes[p].generation for p in above), default=0), tuple(above))
    return nodes.__getitem__


@pytest.mark.parametrize(
    ("parents", "ours", "theirs", "base", "crossed"),
    [
        ({"0": "", "a": "0"}, "0", "a", "0", False),
        ({"0": "", "a": "0", "b": "0"}, "a", "b", "0", False),
        # b took a in; a goes on.
        ({"0": "", "a": "0", "b": "0", "c": "ba", "d": "a"}, "d", "c", "a", False),
        # a and b took each other in.
        ({"0": "", "a": "0", "b": "0", "c": "ab", "d": "ba"}, "c", "d", "a", True),
        ({"0": "", "a": "0", "b": "0", "c": "ab", "d": "ba"}, "c", "d", "b", True),
        ({"0": "", "a": "0", "b": "0", "c": "ab", "d": "ba", "e": "c", "f": "d"}, "e", "f", "a", True),
        # A common ancestor behind the base, reached around it, is none of its own.
        ({"0": "", "1": "0", "2": "1", "a": "20", "b": "2"}, "a", "b", "2", False),
    ],
)
def test_histories_crossed_when_a_second_common_ancestor_is_not_behind_the_first(
    parents, ours, theirs, base, crossed
):
    assert has_crossed(ours, theirs, base, look_up(parents)) is crossed


def ancestors(parents, commit):
    return {commit}.union(*(ancestors(parents, parent) for parent in parents[commit]))


@st.composite
def histories(draw):
    """Commits with up to two earlier ones as parents; all but the first have one."""
    parents = {0: ()}
    for commit in range(1, draw(st.integers(2, 9))):
        earlier = st.integers(0, commit - 1)
        parents[commit] = tuple(draw(st.lists(earlier, min_size=1, max_size=2, unique=True)))
    return parents


@given(histories(), st.data())
def test_it_agrees_with_the_definition_on_any_history(parents, data):
    named = {str(commit): tuple(map(str, above)) for commit, above in parents.items()}
    ours, theirs = (data.draw(st.sampled_from(sorted(named))) for _ in range(2))
    common = ancestors(named, ours) & ancestors(named, theirs)
    newest = {one for one in common if not any(one in ancestors(named, other) - {other} for other in common)}
    for base in newest:
        assert has_crossed(ours, theirs, base, look_up(named)) is (len(newest) > 1)


def test_nothing_is_looked_up_when_one_history_holds_the_other():
    assert not has_crossed("a", "b", "a", {}.__getitem__)
