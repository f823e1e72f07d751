"""Where results go: tables on stdout, as wide as the terminal, or as wide as they are when a file or program reads."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from typing import Any, Literal, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

_UNLIMITED = 4096


def result_console(stream: TextIO | None = None) -> Console:
    """The console for what a user asked for. Text is printed as it is: the names of actions and files are no markup.

    Args:
        stream: Where to write; None is stdout as it is now.
    """
    stream = stream or sys.stdout
    # A table in a file must not be cut to the 80 columns of a terminal that is not there.
    return Console(file=stream, width=None if stream.isatty() else _UNLIMITED, markup=False, emoji=False)


def print_rows(form: Literal["table", "csv", "json"], names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows on stdout: a table, CSV, or one JSON object in each line. Text from outside is no markup."""
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_text(value) for value in row] for row in rows)
    elif form == "json":
        for row in rows:
            record = dict(zip(names, row, strict=True))
            print(json.dumps(record, ensure_ascii=False, default=str))
    else:
        table = Table(box=None)
        for name in names:
            table.add_column(Text(name))
        for row in rows:
            table.add_row(*(Text(_text(value)) for value in row))
        result_console().print(table)


def _text(value: object) -> str:
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)
