"""The demo refuses to write over somebody's files."""

from __future__ import annotations

from workers.__main__ import main


def test_a_folder_in_use_is_left_alone(tmp_path, capsys):
    """
    Exit code 2, the way out in the message, and nothing touched.
    """
    (tmp_path / "thesis.txt").write_text("years of work")
    code = main(["demo", "--workdir", str(tmp_path)])

    assert 2 == code
    assert "choose another --workdir" in capsys.readouterr().err
    assert ["thesis.txt"] == [path.name for path in tmp_path.iterdir()]


def test_a_folder_that_cannot_be_made_is_told(capsys):
    """
    No traceback for a path on which nothing can be made.
    """
    assert 2 == main(["demo", "--workdir", "/proc/demo"])
    assert "cannot make /proc/demo" in capsys.readouterr().err
