"""What an explanation is made of: facts in words, where each is written, and what was compared while reading."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from cv_assets.lookback.schema import VerdictExplanation

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """An object of the lake as of a commit, and what published it: a run, its code, and the commit that it read.

    The last four are None where a person put the object there, or where there is none.
    """

    commit: str
    path: str
    run_id: str | None = None
    code_version: str | None = None
    input_commit: str | None = None
    published_at: datetime | None = None

    def of(self, path: str) -> "Source":
        """Another object of the same publication."""
        return replace(self, path=path)


@dataclass(frozen=True)
class Written:
    """A table and where it is written. A table that is not there has neither rows nor columns."""

    rows: pl.DataFrame
    source: Source

    def row(self, **values: Any) -> Row | None:
        """The first row with these values; None when there is none."""
        found = self.rows.filter(**values) if self.rows.width else self.rows
        return found.row(0, named=True) if found.height else None


class GoneError(FileNotFoundError):
    """The bytes were let go by the spec's retention; the message says when and by which rule."""


class Archive(Protocol):
    """The lake as an explanation reads it: every read names its commit, and all begin at one, the pin."""

    @property
    def pin(self) -> str:
        """The commit at which the explanation was asked for."""
        ...

    def read(self, commit: str, asset: str, partition: str | None = None) -> Written:
        """A table as of `commit`, with what published it."""
        ...

    def scan(self, commit: str, asset: str, columns: Sequence[str]) -> pl.LazyFrame | None:
        """These columns of all partitions of `asset`, one below the other; None when there is no partition."""
        ...

    def fetch(self, source: Source) -> Path:
        """A local, read-only file with the object's bytes. Raises GoneError, else FileNotFoundError."""
        ...

    def exists(self, source: Source) -> bool:
        """Whether the object is there."""
        ...

    def let_go(self, paths: Sequence[str]) -> Mapping[str, str]:
        """Those of `paths` that the spec's retention let go of, each with when and by which rule, in words."""
        ...

    def tagged(self, version: str) -> str | None:
        """The commit that a version's tag names; None when there is no such tag."""
        ...


@dataclass(frozen=True)
class Fact:
    """One link of the chain. One that is `missing` is not there although the chain needs it."""

    link: str
    about: str
    says: str
    source: Source
    missing: bool = False


@dataclass(frozen=True)
class Picture:
    """A frame to be shown, and what it is."""

    caption: str
    source: Source


@dataclass(frozen=True)
class Finding:
    """Something that two links say of each other or of their bytes, and whether it is so."""

    holds: bool
    says: str


@dataclass(frozen=True)
class Section:
    """Facts that belong together under a title."""

    title: str
    facts: tuple[Fact, ...]
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """The chain behind the verdicts on one part.

    `verdict`, `release` and `approver` are those of the newest verdict; None as far as there is none.
    """

    part: str
    title: str
    in_short: tuple[str, ...]
    sections: tuple[Section, ...]
    findings: tuple[Finding, ...]
    pin: str
    verdict: str | None
    release: str | None
    approver: str | None

    @property
    def facts(self) -> Iterator[Fact]:
        """All facts, in their order."""
        return (fact for section in self.sections for fact in section.facts)

    @property
    def pictures(self) -> Iterator[Picture]:
        """All frames that are shown, in their order."""
        return (picture for section in self.sections for picture in section.pictures)

    @property
    def rows(self) -> pl.DataFrame:
        """The facts as rows of `VerdictExplanation`."""
        rows = [
            {
                "number": number,
                "link": fact.link,
                "about": fact.about,
                "fact": fact.says,
                "commit": fact.source.commit,
                "path": fact.source.path,
                "run_id": fact.source.run_id,
                "code_version": fact.source.code_version,
            }
            for number, fact in enumerate(self.facts, start=1)
        ]
        return pl.DataFrame(rows, schema=VerdictExplanation.create_empty().schema)

    def not_there(self, archive: Archive) -> pl.DataFrame:
        """The links that lead nowhere and were not let go, as rows of `VerdictExplanation`."""
        places = {fact.source: archive.exists(fact.source) for fact in self.facts}
        gone = archive.let_go([source.path for source, is_there in places.items() if not is_there])
        lost = [fact.missing or not (places[fact.source] or fact.source.path in gone) for fact in self.facts]
        return self.rows.filter(pl.Series(lost, dtype=pl.Boolean))


def with_let_go(sections: Sequence[Section], archive: Archive) -> tuple[Section, ...]:
    """The sections; each fact about an object that was let go says so, and its picture is not shown."""
    gone = archive.let_go([fact.source.path for section in sections for fact in section.facts])

    def told(fact: Fact) -> Fact:
        words = gone.get(fact.source.path)
        return replace(fact, says=f"{fact.says}; its bytes were {words}") if words else fact

    return tuple(
        replace(
            section,
            facts=tuple(told(fact) for fact in section.facts),
            pictures=tuple(one for one in section.pictures if one.source.path not in gone),
        )
        for section in sections
    )


def missing(link: str, about: str, source: Source) -> list[Fact]:
    """The one fact of a link that should be written at `source`, and is not."""
    return [Fact(link, about, "nothing is written about it, although it should be", source, missing=True)]
