from __future__ import annotations

import shutil
import subprocess

import pytest

from workers.train.origin import commit_of, origin


@pytest.fixture
def checkout(tmp_path):
    """A git checkout with one package."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True)
    return package


def test_a_checkout_tells_its_commit_and_whether_it_was_changed(checkout):
    """
    A file beside it that nobody added changes nothing.
    """
    (checkout / "notes.txt").write_text("of my own")
    clean = commit_of(checkout)
    (checkout / "__init__.py").write_text("changed = True\n")

    assert 40 == len(clean["sha1"])
    assert not clean["dirty"]
    assert {"sha1": clean["sha1"], "dirty": True} == commit_of(checkout)


def test_code_that_is_installed_has_no_commit(checkout, tmp_path):
    """
    Neither outside of any checkout, nor below one that it is no part of.
    """
    installed = checkout / "site-packages" / "other"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")

    assert commit_of(installed) is None


def test_the_method_and_its_libraries_are_named():
    """
    With versions, and a digest of the source that is the same each time.
    """
    told = origin()

    assert told["versions"]["torch"]
    assert 64 == len(told["method_sha256"])
    assert told == origin()
