"""A PostgreSQL of a proof's own: its data in a temporary folder, a free port, a password that nobody knows."""

import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from demo.server import HOST, free_port

PROGRAMS: Final = ("initdb", "pg_ctl", "psql", "pg_dump", "pg_restore")

SCHEME: Final = "postgresql+psycopg2"
"""Of URLs for Dagster: SQLAlchemy 2.1 takes plain `postgresql` for psycopg 3, which dagster-postgres does not bring."""

_USER: Final = "cv"
_SETTINGS: Final = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    # It is gone when the block ends, and so is what it holds.
    "fsync": "off",
    "max_connections": "200",
}


def missing() -> str:
    """Why none can be started, in a sentence; empty when one can."""
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"Skipped: there is no program {lacking[0]} of PostgreSQL on PATH." if lacking else ""


@contextmanager
def postgres(*databases: str) -> Iterator[dict[str, str]]:
    """The URLs of empty databases with these names, in a server that is gone when the block ends."""
    # What TMPDIR names may be closed to the user that it runs as.
    with TemporaryDirectory(prefix="postgres-", dir="/tmp") as name:
        folder, port, password = Path(name), free_port(), secrets.token_hex(20)
        _give_away(folder)
        _make(folder, password)
        options = " ".join(f"-c {key}='{value}'" for key, value in {**_SETTINGS, "port": port}.items())
        data, log = str(folder / "data"), str(folder / "log")
        _run("pg_ctl", "start", "-w", "-D", data, "-l", log, "-o", options, cwd=folder)
        try:
            server = f"{SCHEME}://{_USER}:{password}@{HOST}:{port}"
            for database in databases:
                execute(f"{server}/postgres", f'CREATE DATABASE "{database}"')
            yield {database: f"{server}/{database}" for database in databases}
        finally:
            _run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data, cwd=folder)


def execute(url: str, statement: str) -> str:
    """Run one statement; what it answers."""
    command = ["psql", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-Atc", statement, plain(url)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def plain(url: str) -> str:
    """The URL as PostgreSQL's own programs take it."""
    return url.replace(f"{SCHEME}://", "postgresql://", 1)


def _make(folder: Path, password: str) -> None:
    secret = folder / "password"
    secret.write_text(password)
    _give_away(secret)
    options = ("-U", _USER, "-A", "scram-sha-256", "--pwfile", str(secret), "-E", "UTF8", "--locale", "C")
    _run("initdb", "-D", str(folder / "data"), "--no-sync", *options, cwd=folder)
    secret.unlink()


def _run(program: str, *arguments: str, cwd: Path) -> None:
    who = _somebody()
    command, group = [str(shutil.which(program)), *arguments], pwd.getpwnam(who).pw_gid if who else None
    # What it prints stays in the folder: its children would hold a pipe open.
    with (cwd / "commands.log").open("ab") as log:
        subprocess.run(
            command,
            cwd=cwd,
            check=True,
            stdout=log,
            stderr=log,
            user=who,
            group=group,
            extra_groups=[] if who else None,
        )


def _give_away(path: Path) -> None:
    if who := _somebody():
        shutil.chown(path, who)


def _somebody() -> str | None:
    """The user that it runs as in our stead, for it refuses to run as root; None for ourselves."""
    if os.geteuid() != 0:
        return None
    names = {one.pw_name for one in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
