"""Where results go: tables on stdout, as wide as the terminal, or as wide as they are when a file or program reads."""

from __future__ import annotations

import sys
from typing import TextIO

from rich.console import Console

_UNLIMITED = 4096


def result_console(stream: TextIO | None = None) -> Console:
    """The console for what a user asked for.

    Args:
        stream: Where to write; None is stdout as it is now.
    """
    stream = stream or sys.stdout
    # A table in a file must not be cut to the 80 columns of a terminal that is not there.
    return Console(file=stream, width=None if stream.isatty() else _UNLIMITED)
