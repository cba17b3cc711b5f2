"""Common ancestors on a lakeFS server, which counts generations: a commit's is above that of each parent."""

import heapq
from collections.abc import Callable
from typing import NamedTuple


class Node(NamedTuple):
    """One commit of a history."""

    generation: int
    parents: tuple[str, ...]


def has_crossed(ours: str, theirs: str, base: str, look_up: Callable[[str], Node]) -> bool:
    """Whether `ours` and `theirs` have a common ancestor beside `base`: one that is not behind it.

    `look_up` is asked only for what lies between them, and for nothing when `base` is one of the two.
    """
    if base in {ours, theirs}:
        return False
    sides = {ours: {ours}, theirs: {theirs}, base: {ours, theirs, base}}
    ahead = [(-look_up(commit).generation, commit) for commit in sides]
    heapq.heapify(ahead)
    # By falling generation: who comes up has been reached from everywhere it can be.
    while any(base not in sides[commit] for _, commit in ahead):
        _, commit = heapq.heappop(ahead)
        if sides[commit] == {ours, theirs}:
            return True
        for parent in look_up(commit).parents:
            if parent not in sides:
                heapq.heappush(ahead, (-look_up(parent).generation, parent))
            sides.setdefault(parent, set()).update(sides[commit])
    return False
