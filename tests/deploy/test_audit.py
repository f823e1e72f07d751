"""The lock against a database of vulnerabilities, if there is one."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy"))
from audit import main

LOCK = "some-package==1.10.0 \\\n    --hash=sha256:0\nother==2.0 ; sys_platform == 'linux' \\\n    --hash=sha256:1\n"


def advisory(name: str, *events: dict[str, str], versions: tuple[str, ...] = (), **more: str) -> dict:
    ranges = [{"type": "ECOSYSTEM", "events": list(events)}] if events else []
    package = {"ecosystem": "PyPI", "name": name}
    return {"id": "PYSEC-1", "affected": [{"package": package, "ranges": ranges, "versions": list(versions)}], **more}


def audit(folder: Path, *found: dict, archived: bool = True) -> int:
    """The exit code; what is told goes to stdout."""
    (folder / "lock").write_text(LOCK)
    database = folder / "all.zip"
    if archived:
        with zipfile.ZipFile(database, "w") as archive:
            for number, each in enumerate(found):
                archive.writestr(f"{number}.json", json.dumps(each))
    else:
        database.mkdir()
        for number, each in enumerate(found):
            (database / f"{number}.json").write_text(json.dumps(each))
    return main([str(database), str(folder / "lock")])


@pytest.mark.parametrize("archived", [True, False])
@pytest.mark.parametrize(
    "found",
    [
        advisory("Some_Package", {"introduced": "0"}, {"fixed": "1.11"}),
        advisory("some-package", {"introduced": "1.9"}, {"last_affected": "1.10.0"}),
        advisory("some-package", {"introduced": "0"}, {"fixed": "1.2"}, {"introduced": "1.10"}),
        advisory("other", versions=("2.0",)),
    ],
)
def test_a_vulnerable_version_is_named(tmp_path, capsys, found, archived):
    """
    Whatever the spelling and the way of saying which versions; numbers are compared as versions, 1.10 after 1.9.
    """
    assert 1 == audit(tmp_path, found, archived=archived)
    assert "PYSEC-1" in capsys.readouterr().out


@pytest.mark.parametrize(
    "found",
    [
        advisory("some-package", {"introduced": "0"}, {"fixed": "1.10.0"}),
        advisory("some-package", {"introduced": "1.11"}),
        advisory("some-package", {"introduced": "0"}, withdrawn="2026-01-01T00:00:00Z"),
        advisory("nobody-has-this", {"introduced": "0"}),
    ],
)
def test_nothing_else_is_named(tmp_path, capsys, found):
    """
    Mended before, not there yet, withdrawn, or of another package.
    """
    assert 0 == audit(tmp_path, found)
    assert "0 known vulnerabilities" in capsys.readouterr().out


def test_without_a_database_there_is_no_fault_and_no_promise(tmp_path, capsys):
    """
    One line says that nothing was audited.
    """
    assert 0 == main([str(tmp_path / "none.zip")])
    assert "were not audited" in capsys.readouterr().out
