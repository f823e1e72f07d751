"""Progress bars on a terminal: how far, how fast, how much longer. Silent when nobody is looking."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class _Rate(ProgressColumn):
    """Images in a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.1f} images/s", style="cyan")


class ProgressBar:
    """A bar for one job; shows on stderr, so that stdout stays clean for results."""

    def __init__(self, title: str, total: int, *, shown: bool | None = None) -> None:
        """Args: shown: True or False to force it, None to follow whether stderr is a terminal."""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not (sys.stderr.isatty() if shown is None else shown),
            speed_estimate_period=60,
        )
        self._task = self._progress.add_task(title, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self, images: int, title: str | None = None) -> None:
        """Move on by some images, and maybe change the text in front of the bar."""
        self._progress.update(self._task, advance=images, description=title)

    def reach(self, images: int, title: str | None = None) -> None:
        """Set how many images are done, for example when a run continues."""
        self._progress.update(self._task, completed=images, description=title)
