"""What the demo shows while it plays: colours and bars on a terminal, plain lines anywhere else."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

STEPS_OF_A_PLAIN_BAR: Final = 4
PLAIN_WIDTH: Final = 120
"""Columns of a table where there is no terminal to ask."""


@dataclass
class Bar:
    """Progress of one piece of long work: `update` with how much is done and what is going on."""

    title: str
    total: int
    console: Console
    progress: Progress | None
    _shown: tuple[int, str] = (0, "")

    def update(self, done: int, note: str = "") -> None:
        """Show that `done` of the total is done."""
        if self.progress:
            self.progress.update(self.progress.task_ids[0], completed=done, note=note)
            return
        quarter = done * STEPS_OF_A_PLAIN_BAR // max(self.total, 1)
        if (quarter, note) != self._shown:
            self._shown = (quarter, note)
            self.console.print(f"         {self.title}: {done} of {self.total}{f', {note}' if note else ''}")


def _console() -> Console:
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


@dataclass
class Screen:
    """Says what happens, with the seconds since the demo began."""

    console: Console = field(default_factory=_console)
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long the demo plays by now."""
        return time.monotonic() - self.began

    def chapter(self, title: str) -> None:
        """A new part of the story."""
        self.console.print(f"\n[bold cyan]{escape(title)}[/]")

    def say(self, text: str, style: str = "") -> None:
        """One thing that happened, with the time."""
        shown = escape(text)
        self.console.print(f"[dim]{self.seconds:5.0f} s[/]  {f'[{style}]{shown}[/]' if style else shown}")

    def tell(self, text: str) -> None:
        """Text without a time."""
        self.console.print(escape(text))

    def show(self, table: Table) -> None:
        """A table."""
        self.console.print(table)

    @contextlib.contextmanager
    def bar(self, title: str, total: int) -> Iterator[Bar]:
        """A bar that is there while the block runs."""
        if not self.console.is_terminal:
            yield Bar(title, total, self.console, None)
            return
        columns = (
            TextColumn("         {task.description}"),
            BarColumn(30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            progress.add_task(title, total=total, note="")
            yield Bar(title, total, self.console, progress)
