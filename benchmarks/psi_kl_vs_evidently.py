"""PSI and KL divergence of every column of a delivery against a frozen reference: Evidently's time over ours.

Both start from the same polars frame of the delivery and pay for their own conversion; both have their reference ready.
Evidently makes its bins anew from both sides each time, ours are frozen with the reference.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift

from benchmarks.figure import Figure
from cv_assets.reference.bins import Counts, Vector, counts_in, edges_of, kl, psi

Frozen = Mapping[str, tuple[Vector, Counts]]
Values = Mapping[str, tuple[float, float]]
"""PSI and KL divergence of each column."""


@dataclass(frozen=True)
class Sizes:
    """How much is compared, and how often: our time is the median of `rounds`, so is Evidently's of `peer_rounds`."""

    columns: int
    rows: int
    rounds: int
    peer_rounds: int


def measure() -> Figure:
    """20 columns of 100,000 rows."""
    return times_faster(Sizes(columns=20, rows=100_000, rounds=9, peer_rounds=3), goal=">= 20")


def times_faster(sizes: Sizes, goal: str) -> Figure:
    """Evidently's time over ours. Raises ValueError when the two do not see the same shift."""
    reference, delivery = _frame(sizes, seed=0, shift=0.0), _frame(sizes, seed=1, shift=0.5)
    frozen, peer = _frozen(reference), _evidently(reference)
    ours, theirs = _ours(frozen, delivery), peer(delivery)
    _compare(ours, theirs)
    seconds = _median_seconds(lambda: _ours(frozen, delivery), sizes.rounds)
    peer_seconds = _median_seconds(lambda: peer(delivery), sizes.peer_rounds)
    unit = f"times faster, {sizes.columns} columns x {sizes.rows} rows ({1000 * seconds:.0f} ms)"
    return Figure(peer_seconds / seconds, unit, "Evidently's ValueDrift, psi and kl_div", goal)


def _frame(sizes: Sizes, seed: int, shift: float) -> pl.DataFrame:
    """Normal values; those of every second column moved by `shift`."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {f"c{number}": rng.normal(shift * (number % 2), 1, sizes.rows) for number in range(sizes.columns)}
    )


def _frozen(reference: pl.DataFrame) -> Frozen:
    columns = {name: reference[name].to_numpy() for name in reference.columns}
    edges = {name: edges_of(values, 10) for name, values in columns.items()}
    return {name: (edges[name], counts_in(edges[name], values)) for name, values in columns.items()}


def _ours(frozen: Frozen, delivery: pl.DataFrame) -> Values:
    found = {}
    for name, (edges, expected) in frozen.items():
        counts = counts_in(edges, delivery[name].to_numpy())
        found[name] = psi(expected, counts), kl(expected, counts)
    return found


def _evidently(reference: pl.DataFrame) -> Callable[[pl.DataFrame], Values]:
    names = reference.columns
    definition = DataDefinition(numerical_columns=names)
    ready = Dataset.from_pandas(reference.to_pandas(), data_definition=definition)

    def run(delivery: pl.DataFrame) -> Values:
        current = Dataset.from_pandas(delivery.to_pandas(), data_definition=definition)
        metrics = [ValueDrift(column=name, method=method) for name in names for method in ("psi", "kl_div")]
        said = [float(one["value"]) for one in Report(metrics).run(current, ready).dict()["metrics"]]
        return dict(zip(names, zip(said[::2], said[1::2], strict=True), strict=True))

    return run


def _compare(ours: Values, theirs: Values) -> None:
    for name in list(ours)[1::2]:
        if not np.allclose(ours[name], theirs[name], rtol=0.3):
            raise ValueError(f"{name} moved: PSI and KL are {ours[name]} here, {theirs[name]} by Evidently")


def _median_seconds(call: Callable[[], object], rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
