"""What every child of the crash matrix needs, loaded once: Dagster, and all that it loads with the first run.

Not Polars: its threads do not live through a fork.
"""

import dagster as dg
import sqlalchemy.dialects.mssql
import sqlalchemy.dialects.mysql
import sqlalchemy.dialects.oracle
import sqlalchemy.dialects.postgresql  # noqa: F401  Dataframely's


@dg.asset
def nothing() -> None:
    """The first run."""


with dg.DagsterInstance.ephemeral() as _instance:
    dg.materialize(
        [nothing],
        instance=_instance,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
