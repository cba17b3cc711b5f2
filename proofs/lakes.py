"""The lakes that a proof is tried on: the embedded one, and a lakeFS of its own where there is one."""

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from demo import lakes

KINDS: Final = (lakes.EMBEDDED, lakes.LAKEFS)


def missing(kind: str) -> str:
    """Why a proof cannot be tried on that lake, in a sentence; empty when it can."""
    if kind == lakes.LAKEFS and not os.environ.get("LAKEFS_ENDPOINT") and shutil.which("lakefs") is None:
        return "Skipped: there is no `lakefs` program on PATH and no LAKEFS_ENDPOINT."
    return ""


def on_each(tried: Callable[[Path, Mapping[str, str]], dict[str, Any]]) -> dict[str, Any]:
    """What `tried` measures on each lake, by kind; a sentence where there is none.

    It gets an empty folder, and the variables by which the product finds the lake and the data folder in it.
    """
    figures: dict[str, Any] = {}
    for kind in KINDS:
        figures[kind] = missing(kind) or _on(kind, tried)
    return figures


def _on(kind: str, tried: Callable[[Path, Mapping[str, str]], dict[str, Any]]) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix=f"proof-{kind}-")))
        variables = stack.enter_context(lakes.lake(kind, folder / "server"))
        data = folder / "data"
        data.mkdir()
        return tried(folder, {**variables, "CV_DATA": str(data), "LAKE_BRANCH": "main", "CV_NOTIFY": ""})
