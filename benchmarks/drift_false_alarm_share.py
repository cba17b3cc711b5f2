"""How often an ordinary delivery drifts falsely, when the level comes from the reference's own deliveries."""

import math

from benchmarks.figure import Figure
from benchmarks.simulated_deliveries import REFERENCE, TEXTBOOK, judge
from cv_assets.reference.levels import least_false_alarms
from cv_assets.spec.drift import Drift


def measure() -> Figure:
    """For the novelty, which drifts upwards only: half as often as a statistic that drifts either way.

    The next ordinary delivery is as likely at each place among those of the reference, so that of k deliveries a level
    at the quantile q promises (k + 1 - ceil(q k)) / (k + 1), either way.
    """
    rules = Drift()
    shares, least = judge(0.0, rules), least_false_alarms(REFERENCE)
    promised = (REFERENCE + 1 - math.ceil(rules.level * REFERENCE)) * least
    return Figure(
        shares.above,
        f"share of ordinary deliveries, upwards; {shares.both:.2f} either way, where {REFERENCE} deliveries promise "
        f"{promised:.2f} at level {rules.level:g} and never less than {least:.2f}",
        f"{shares.textbook:.2f} for PSI > {TEXTBOOK:g} on the same data",
        "<= 0.1",
    )
