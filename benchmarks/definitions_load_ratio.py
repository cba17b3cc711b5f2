"""How long the definitions take to load in a fresh process, over a bare `import dagster`."""

import statistics
import subprocess
import sys
import time

from benchmarks.figure import Figure

ROUNDS = 7


def measure() -> Figure:
    """Median of the ratios of alternating fresh processes, after one of each to warm the disk cache."""
    _seconds("import dagster"), _seconds("import cv_assets.definitions")
    ratios = [_seconds("import cv_assets.definitions") / _seconds("import dagster") for _ in range(ROUNDS)]
    return Figure(statistics.median(ratios), "times", "import dagster", "<= 2")


def _seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start
