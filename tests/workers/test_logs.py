"""One event, one line: for people or for machines; results and logs never mix."""

from __future__ import annotations

import json

import pytest

from workers.logs import configure_logs, get_log


def test_json_lines_are_json(capsys):
    """
    Each line parses and holds event, level, time and fields, on stderr.
    """
    configure_logs("json", "info")
    get_log(run_id="r1").info("score.shard_committed", rows=3, note='quotes " and\nnew lines')
    shown = capsys.readouterr()
    line = json.loads(shown.err)

    assert "" == shown.out
    assert 1 == shown.err.count("\n")
    assert ("score.shard_committed", "info", "r1", 3) == (line["event"], line["level"], line["run_id"], line["rows"])
    assert line["timestamp"].endswith("Z")


def test_an_exception_stays_on_one_json_line(capsys):
    """
    A collector that splits at line ends gets a whole record.
    """
    configure_logs("json", "info")
    try:
        raise ValueError("on\nseveral lines")
    except ValueError:
        get_log().exception("score.pass_failed")

    assert "several lines" in json.loads(capsys.readouterr().err)["exception"]


@pytest.mark.parametrize(("level", "shown"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_decides(capsys, level, shown):
    """
    Lines below the level are not written.
    """
    configure_logs("console", level)
    log = get_log()
    for say in (log.debug, log.info, log.warning, log.error):
        say("test.said")

    assert shown == capsys.readouterr().err.count("test.said")
