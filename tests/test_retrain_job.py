from jobs.retrain import PRELOADED


def test_nothing_that_brings_polars_is_imported_before_a_fork_which_loses_its_threads():
    brings_polars = {"polars", "dataframely", "cv_assets", "resources", "great_expectations"}
    assert not {name.partition(".")[0] for name in PRELOADED} & brings_polars
