from __future__ import annotations

import pytest
from rich.table import Table

from workers.console import result_console


@pytest.mark.parametrize("name", ["riding [horse]", "run [/fast]", "a:smile:b", "[bold]x[/bold]"])
def test_names_are_printed_as_they_are(capsys, name):
    """
    Square brackets and colons in the name of an action are its own, wherever it stands in a table.
    """
    table = Table(title=name, caption=name)
    table.add_column(name)
    table.add_row(name)
    result_console().print(table)

    assert 4 == capsys.readouterr().out.count(name)
