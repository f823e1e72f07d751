"""A bar for those who look, silence for those who do not."""

from __future__ import annotations

from workers.progress import ProgressBar


def test_the_bar_tells_images_and_rate(capsys):
    """
    Forced on, it writes count and images/s to stderr; stdout stays clean.
    """
    with ProgressBar("scoring", 40, shown=True) as bar:
        bar.reach(10)
        bar.advance(30, "almost")
    shown = capsys.readouterr()

    assert "" == shown.out
    assert "40/40" in shown.err
    assert "images/s" in shown.err
    assert "almost" in shown.err


def test_without_a_terminal_there_is_no_bar(capsys):
    """
    A log file does not fill with bars.
    """
    with ProgressBar("scoring", 40) as bar:
        bar.advance(40)

    assert ("", "") == capsys.readouterr()
