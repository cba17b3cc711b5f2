"""Explain the verdicts on one part: python -m cv_assets.lookback m07c012 [--out page.html]. Changes nothing."""

import argparse
import hashlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from cv_assets.frames.files import write_atomically
from cv_assets.lookback.assets import LakeArchive, html_page
from cv_assets.lookback.chain import UnknownPartError, explain
from cv_assets.lookback.page import as_markdown
from resources.deployments import Deployment, current, lake_is_there, open_lake
from resources.lake import Lake, RefNotFoundError
from resources.tables import Snapshot


class NoLakeError(LookupError):
    """There is no lake to read: a question must not make one."""


def main(given: Sequence[str], deployment: Deployment) -> int:
    """Print the page of a part and write it as HTML; 1 when there is nothing to explain."""
    arguments = _parser().parse_args(given)
    if not arguments.part:
        return _refuse("Which part? For example: make explain PART=m07c012")
    try:
        lake = _lake(deployment)
        archive = LakeArchive(Snapshot(lake, lake.resolve(deployment.branch)), deployment)
        explanation = explain(archive, arguments.part)
    except (UnknownPartError, RefNotFoundError, NoLakeError) as error:
        return _refuse(f"{error.args[0]}\nThe data folder is {deployment.data_dir}; CV_DATA names another.")
    console = Console()
    console.print(Markdown(_narrow(as_markdown(explanation))))
    file = arguments.out or deployment.data_dir / "explanations" / f"{file_name(arguments.part)}.html"
    try:
        _write(file, html_page(explanation, archive))
    except OSError as error:
        return _refuse(f"The page cannot be written to {file}: {error}. OUT names another file.")
    console.print(f"\nAs a page, with its pictures: {file}", soft_wrap=True, markup=False, highlight=False)
    return 0


def _lake(deployment: Deployment) -> Lake:
    if not lake_is_there(deployment):
        raise NoLakeError(f"There is no lake in {deployment.embedded_lake}.")
    return open_lake(deployment)


def _write(file: Path, page: bytes) -> None:
    target = file.resolve()
    if target.exists() and not target.is_file():
        raise OSError("it is no regular file")
    write_atomically(target, page)


def file_name(part: str) -> str:
    """A plain file name for a part, whatever characters it has; no two parts share one."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", part)[:80]
    return plain if plain == part else f"{plain}-{hashlib.sha256(part.encode()).hexdigest()[:8]}"


def _narrow(markdown: str) -> str:
    """Without the tails of the longest digests in tables, which a terminal would cut; the page has them whole."""
    return re.sub(
        r"(?m)^\|.*$", lambda row: re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", row[0]), markdown
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cv_assets.lookback", description=__doc__)
    parser.add_argument("part", help="the part, as its file name says it")
    parser.add_argument("--out", type=Path, help="where the HTML page is written")
    return parser


def _refuse(why: str) -> int:
    print(why, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], current()))
