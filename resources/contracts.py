"""What an asset declares before a run and answers in it: its contract, its checks, and the table it hands over."""

import functools
import hashlib
import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import dagster as dg
import dataframely as dy
import polars as pl

from resources.deployments import ROOT
from resources.lake import Content

ON_CANDIDATE: Final = {"lake/branch": "candidate"}
"""Op tag of an asset whose partitions live on the data branch of their candidate."""

_LONGEST_CELL: Final = 400
"""Characters of a cell that the UI shows: a sentence with its figures, not a document."""

CONTRACT_CHECK: Final = "follows_its_contract"


@dataclass(frozen=True)
class Table:
    """What an asset hands to the IO manager: rows, the bytes they point to, and what the audit said.

    `files` maps lake paths to content. `merges` names a commit that enters the data branch in the same transaction.
    `tags` maps tag names to commits, an empty commit meaning the publication itself; None: a table that tags nothing.
    `removes` are paths that the data branch no longer lists from then on.
    """

    rows: pl.DataFrame
    volatile: tuple[str, ...] = ()
    files: Mapping[str, Content] = field(default_factory=dict)
    refused_by: tuple[str, ...] = ()
    merges: str = ""
    tags: Mapping[str, str] | None = None
    removes: tuple[str, ...] = ()

    @functools.cached_property
    def data_version(self) -> str:
        """The hash of the rows without what is volatile; reading all of them, it is taken once."""
        return digest(self.rows, self.volatile)


Audited = Iterator[dg.AssetCheckResult | dg.MaterializeResult[Table]]
"""What an asset function returns: its checks, then its table."""


@dataclass(frozen=True)
class Check:
    """A named question that every materialization of an asset answers.

    A blocking check that fails keeps the table from being published; the others inform.
    """

    name: str
    asks: str
    blocking: bool = True

    def result(
        self, passed: bool, why: str = "", metadata: Mapping[str, Any] | None = None
    ) -> dg.AssetCheckResult:
        """The answer; `why` is the sentence that people read in the UI."""
        return dg.AssetCheckResult(
            passed=passed,
            check_name=self.name,
            severity=dg.AssetCheckSeverity.ERROR if self.blocking else dg.AssetCheckSeverity.WARN,
            description=why or self.asks,
            metadata=dict(metadata or {}),
        )

    def no_rows(self, offenders: pl.DataFrame, why: str = "") -> dg.AssetCheckResult:
        """Passed when there is no offending row; otherwise the first of them are shown."""
        shown = {} if offenders.is_empty() else {"offenders": preview(offenders, rows_shown=10)}
        return self.result(
            offenders.is_empty(),
            why or f"{self.asks} Rows that break this: {offenders.height}.",
            {"rows": offenders.height, **shown},
        )


@dataclass(frozen=True)
class TableAsset:
    """An asset and its contract: what Dagster must declare before, and what `audited` must yield after, a run."""

    name: str
    schema: type[dy.Schema]
    step: str
    kinds: frozenset[str] = frozenset()
    partitions: dg.PartitionsDefinition[str] | None = None
    on_candidate: bool = False
    checks: tuple[Check, ...] = ()
    pool: str | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of `@dg.asset` that follow from the contract."""
        return {
            "name": self.name,
            "group_name": self.step,
            "tags": {"step": self.step},
            "kinds": {"polars", *self.kinds},
            "code_version": code_version(self.step),
            "partitions_def": self.partitions,
            "pool": self.pool,
            "op_tags": ON_CANDIDATE if self.on_candidate else {},
            "metadata": {"dagster/column_schema": _column_schema(self.schema)},
            "check_specs": [self._check_spec(check) for check in (self._contract_check, *self.checks)],
        }

    def _check_spec(self, check: Check) -> dg.AssetCheckSpec:
        with warnings.catch_warnings():
            # Without its partitions a check shows the newest partition's answer for all: one green hides a red.
            warnings.filterwarnings("ignore", "Specifying a partitions_def on an AssetCheckSpec")
            return dg.AssetCheckSpec(
                check.name,
                asset=self.name,
                description=check.asks,
                blocking=check.blocking,
                partitions_def=self.partitions,
            )

    @property
    def _contract_check(self) -> Check:
        return Check(CONTRACT_CHECK, f"Does every row follow the contract? {_rules(self.schema)}")

    def audited(
        self,
        rows: pl.DataFrame,
        *,
        files: Mapping[str, Content] | None = None,
        checks: Sequence[dg.AssetCheckResult] = (),
        metadata: Mapping[str, Any] | None = None,
        merges: str = "",
        tags: Mapping[str, str] | None = None,
        removes: Iterable[str] = (),
    ) -> Audited:
        """Yield the contract's check, the asset's own `checks`, then the table for the IO manager.

        Raises ValueError when a declared check has no result or an undeclared one has: Dagster itself would notice
        the first only after publication.
        """
        declared, given = {check.name for check in self.checks}, {check.check_name for check in checks}
        if declared != given:
            raise ValueError(
                f"{self.name} declares the checks {sorted(declared)}, got {sorted(map(str, given))}"
            )
        rows, contract = self._audit_contract(rows)
        answers = [contract, *checks]
        yield from answers
        volatile = tuple(
            name for name, column in self.schema.columns().items() if (column.metadata or {}).get("volatile")
        )
        refused_by = tuple(
            check.check_name or ""
            for check in answers
            if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
        )
        table = Table(rows, volatile, files or {}, refused_by, merges, tags, tuple(removes))
        # What a person asks first comes first; any table's first rows come last.
        told = dict(metadata or {})
        told["rows"] = told.pop("rows", preview(rows))
        yield dg.MaterializeResult(
            value=table,
            data_version=dg.DataVersion(table.data_version),
            metadata=told,
        )

    def _audit_contract(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, dg.AssetCheckResult]:
        rows = rows.select(self.schema.column_names()).cast(dict(self.schema.create_empty().schema))  # type: ignore[arg-type]
        failure = self.schema.filter(rows).failure
        broken = failure.counts()
        return rows, self._contract_check.result(
            not broken,
            "Every row follows the contract."
            if not broken
            else "Rows break the contract: " + ", ".join(f"{rule} ({n})" for rule, n in broken.items()),
            {} if not broken else {"offenders": preview(failure.invalid(), rows_shown=10)},
        )


def digest(rows: pl.DataFrame, volatile: Iterable[str] = ()) -> str:
    """The data version: a hash of the table's content, `volatile` columns (times of run, latencies) left out.

    The same rows have the same hash, whether a run made them or a file holds them.
    """
    stream = io.BytesIO()
    # Parquet stores values; Arrow's own form would also hold what happens to lie in memory below a null.
    rows.drop(volatile).rechunk().write_parquet(stream, compression="uncompressed", statistics=False)
    return hashlib.sha256(stream.getvalue()).hexdigest()[:16]


@functools.cache
def code_version(step: str) -> str:
    """A hash of the step's source files, so that changed code shows as stale without anyone counting versions."""
    hasher = hashlib.sha256()
    for file in sorted((ROOT / "cv_assets" / step).glob("*.py")):
        hasher.update(file.name.encode() + b"\0" + file.read_bytes())
    return hasher.hexdigest()[:12]


def preview(rows: pl.DataFrame, columns: Sequence[str] = (), *, rows_shown: int = 5) -> dg.TableMetadataValue:
    """The first rows, as a table in the UI."""
    shown = rows.select(columns) if columns else rows
    names = shown.columns
    records = [
        dg.TableRecord({name: _cell(value) for name, value in zip(names, row, strict=True)})
        for row in shown.head(rows_shown).iter_rows()
    ]
    return dg.MetadataValue.table(records, schema=dg.TableSchema([dg.TableColumn(name) for name in names]))


def _cell(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, int | bool):
        return value
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    text = str(value)
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"


def _column_schema(schema: type[dy.Schema]) -> dg.TableSchema:
    return dg.TableSchema(
        [
            dg.TableColumn(
                name,
                type=str(column.dtype),
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
            )
            for name, column in schema.columns().items()
        ]
    )


def _rules(schema: type[dy.Schema]) -> str:
    keys = ", ".join(schema.primary_key())
    return (
        f"Types, required columns and ranges hold; one row per {keys}." if keys else "Types and ranges hold."
    )
