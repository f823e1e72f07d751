"""The documentation tells the truth: its files are there, its tables are up to date; `docs/` runs its commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workers.settings import COMMANDS, read_settings
from workers.settings.reference import settings_reference

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("deploy/**/*.md")),
]
INLINE = re.compile(r"`lga ([^`]+)`")


def split(words: list[str]) -> tuple[str, list[str]]:
    """The longest command at the front, and what follows it."""
    return next((" ".join(words[:n]), words[n:]) for n in (2, 1, 0) if n == 0 or " ".join(words[:n]) in COMMANDS)


def unknown_flags(command: str, words: list[str]) -> list[str]:
    """The words that look like flags and are none of the command."""
    flags = {f"--{name.replace('_', '-')}" for name in COMMANDS[command].model_fields} | {"--help"}
    return [word for word in words if word.startswith("--") and word.split("=")[0].replace("--no-", "--") not in flags]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_a_sentence_exists(page):
    """
    Of `lga ...` in running text the command and its flags are known; placeholders may stand for values.
    """
    wrong = []
    for text in INLINE.findall(page.read_text(encoding="utf-8")):
        words = text.split()
        command, rest = split(words)
        if not command:
            # A group, such as `lga runs`, or the usage line.
            groups = {"COMMAND", "<command>", *(name.split()[0] for name in COMMANDS)}
            known = words[0].startswith("--") or words[0] in groups
            wrong += [] if known else [text]
            continue
        wrong += [text for _ in unknown_flags(command, rest)]

    assert [] == wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_target_that_is_named_is_there(page):
    """
    Links to files of the repository lead somewhere; `make` targets exist; no picture is large.
    """
    text = page.read_text(encoding="utf-8")
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    targets = set(re.findall(r"(?:^ {4}|`)make ([a-z]+)", text, re.MULTILINE))
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert [] == [link for link in links if link and not (page.parent / link).exists()]
    assert set() == targets - known
    assert [] == [path.name for path in ROOT.glob("docs/*.[jp][pn]g") if path.stat().st_size > 300_000]


def test_the_settings_reference_is_up_to_date():
    """
    `make docs` writes it again after a setting has changed.
    """
    assert settings_reference() == (ROOT / "docs" / "settings.md").read_text(encoding="utf-8"), "run: make docs"


def test_every_command_explains_itself(capsys):
    """
    `lga COMMAND --help` of each command: 80 columns, and a sentence for every setting.
    """
    for command, settings in COMMANDS.items():
        with pytest.raises(SystemExit) as ended:
            read_settings(settings, command, ["--help"])
        shown = capsys.readouterr().out

        assert 0 == ended.value.code
        assert max(map(len, shown.splitlines())) <= 80
        assert [] == [name for name, field in settings.model_fields.items() if not field.description]
