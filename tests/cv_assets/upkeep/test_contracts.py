from dataclasses import replace

import polars as pl
from by_hand import publish_by_hand
from run_results import failure, metadata

from cv_assets.definitions import definitions
from cv_assets.upkeep.assets import branch_changes
from cv_assets.upkeep.changes import SAID
from cv_assets.upkeep.contracts import contract_of, key_and_volatile
from resources.tables import Tables, parquet, table_path

PARTS = pl.DataFrame({"part": ["p1", "p2"]})


def test_every_table_is_compared_by_the_key_of_its_contract(deployment):
    names = {key.path[-1] for key in definitions(deployment).resolve_asset_graph().get_all_asset_keys()}
    for name in sorted(names):
        contract = contract_of(name)
        assert contract, f"{name} has no contract in cv_assets/upkeep/contracts.py"
        key, _ = key_and_volatile(name)
        assert key, name
        assert not SAID.keys() & set(key), name


def test_a_table_that_this_code_does_not_know_has_no_key():
    assert key_and_volatile("of_an_older_version") == ([], [])


def test_an_experiment_s_changes_are_a_table_of_their_own(deployment, materialize, resources):
    tables = resources["tables"]
    publish_by_hand(tables.lake, {table_path("same"): parquet(PARTS)})
    tables.lake.create_branch("my-idea", "main")
    publish_by_hand(tables.lake, {table_path("more"): parquet(PARTS)}, "my-idea")
    experiment = replace(deployment, branch="my-idea")
    mine = Tables(experiment, tables.lake)
    given = {"io_manager": mine, "tables": mine, "deployment": experiment}
    for _ in range(2):  # the comparison itself is no change
        result = materialize([branch_changes], resources=given)
        assert metadata(result, "branch_changes")["in short"].endswith("2 rows of 1 table differ.")
    table = mine.head().table("branch_changes")
    assert table.select("asset", "change").rows() == [("more", "added")] * 2


def test_main_has_nothing_to_be_compared_with(materialize):
    result = materialize([branch_changes], raise_on_error=False)
    assert "this deployment works on main itself" in failure(result)
