import subprocess
import sys

from jobs.retrain import PRELOADED


def test_nothing_that_is_imported_before_a_fork_brings_polars_whose_threads_a_fork_loses():
    said = subprocess.run(
        [sys.executable, "-c", f"import sys, {', '.join(PRELOADED)}; print('polars' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == "False"
