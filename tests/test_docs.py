"""The documentation tells the truth: its commands are commands, its files are there, its tables are up to date."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from workers.__main__ import main
from workers.settings import COMMANDS, read_settings
from workers.settings.reference import settings_reference

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("deploy/**/*.md")),
]
BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```|((?:^(?: {4}|\t).*\n)+)", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`lga ([^`]+)`")


def commands(page: Path) -> list[str]:
    """Every `lga ...` line of the page's code blocks, continued lines joined, comments cut off."""
    found = []
    for fenced, indented in BLOCK.findall(page.read_text(encoding="utf-8")):
        text = (fenced or indented).replace("\\\n", " ")
        lines = (re.sub(r"^\s*(?:\$ )?(?:\.venv/bin/)?", "", line) for line in text.splitlines())
        found += [line.split("  #")[0].strip() for line in lines if line.startswith("lga ")]
    return found


def split(words: list[str]) -> tuple[str, list[str]]:
    """The longest command at the front, and what follows it."""
    return next((" ".join(words[:n]), words[n:]) for n in (2, 1, 0) if n == 0 or " ".join(words[:n]) in COMMANDS)


def unknown_flags(command: str, words: list[str]) -> list[str]:
    """The words that look like flags and are none of the command."""
    flags = {f"--{name.replace('_', '-')}" for name in COMMANDS[command].model_fields} | {"--help"}
    return [word for word in words if word.startswith("--") and word.split("=")[0].replace("--no-", "--") not in flags]


SHOWN = [pytest.param(line, id=f"{page.name}: {line[:60]}") for page in PAGES for line in commands(page)]


@pytest.mark.parametrize("line", SHOWN)
def test_every_command_that_is_shown_is_understood(line, monkeypatch):
    """
    The program's own settings reader takes each command line as it stands; of a line with "..." the flags are known.
    """
    monkeypatch.delenv("LGA_CONFIG", raising=False)
    words = shlex.split(line)[1:]
    if words in (["--help"], ["COMMAND", "--help"]):
        return
    command, rest = split(words)

    assert command, f"there is no command like {line!r}"
    if "..." in rest:
        assert [] == unknown_flags(command, rest)
    else:
        read_settings(COMMANDS[command], command, rest)


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


def test_the_cheap_commands_run_as_shown(tmp_path, monkeypatch, capsys):
    """
    What needs no data, model or cluster is run in an empty folder, and ends as it should.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LGA_REGISTRY", raising=False)
    codes = {line: main(shlex.split(line)[1:]) for line in ("lga --help", "lga models list")}

    assert {"lga --help": 0, "lga models list": 0} == codes
    assert "lga train" in capsys.readouterr().out


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


def test_the_snippet_of_the_readme_runs(tmp_path):
    """
    The Python of the README, as it stands, beside tags under `tagged/`.
    """
    (snippet,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    folder = tmp_path / "tagged" / "tags" / "run=a"
    folder.mkdir(parents=True)
    make = f"import duckdb; duckdb.sql(\"copy (select 'a.jpg' as key, 'running' as label, 0.9 as confidence, 0.5 as focus, 'accept' as verdict) to '{folder}/shard-000000.parquet' (format parquet)\")"  # noqa: E501
    done = subprocess.run(
        [sys.executable, "-c", f"{make}\n{snippet}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stderr
    assert "running" in done.stdout
