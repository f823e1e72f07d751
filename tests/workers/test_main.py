"""The command line: every mistake is a sentence and an exit code, never a traceback."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from importlib.metadata import version

import pytest

from workers.__main__ import main
from workers.settings import COMMANDS


def lga(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """One command as a user types it."""
    return subprocess.run(
        [sys.executable, "-m", "workers", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_command(capsys, arguments):
    """
    One line or two for each command, on stdout, exit code 0.
    """
    assert 0 == main(arguments)
    shown = capsys.readouterr().out
    assert all(f"\n  {command} " in shown for command in COMMANDS)


def test_the_version_is_told(capsys):
    """
    That of the installed package, and the help says how to ask for it.
    """
    assert 0 == main(["--version"])
    assert f"lga {version('lga-tagger')}\n" == capsys.readouterr().out
    assert 0 == main(["--help"])
    assert "lga --version" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["scroe"], "there is no command 'scroe'"),
        (["models"], "lga models: say what to do with it"),
        (["models", "delete"], "lga models: say what to do with it"),
        (["score"], "--input is needed"),
        (["train", "--manifest", "m"], "--name is needed"),
    ],
)
def test_a_wrong_command_is_told(capsys, arguments, told):
    """
    Exit code 2 and what to type instead, on stderr.
    """
    assert 2 == main(arguments)
    assert told in capsys.readouterr().err


def test_help_of_a_group_lists_its_commands(capsys):
    """
    `lga models --help` shows the commands of that group alone.
    """
    assert 0 == main(["models", "--help"])
    shown = capsys.readouterr().out

    assert "models promote" in shown
    assert "score" not in shown


def test_a_reader_that_leaves_early_is_no_error(s3):
    """
    `lga ... | head -1` ends quietly.
    """
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "workers", "--help"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)

    assert "Traceback" not in done.stderr


OUTPUT = """
import sys
import workers.__main__ as program
from workers.console import result_console
from workers.errors import TooManyFailures

def job(settings):
    print("a line", flush=True)
    result_console().print("a table")
    print("another line")
    {end}

program._job = lambda command: job
sys.exit(program.main(["runs", "list", "--output", "x"]))
"""


@pytest.mark.parametrize("closed", [">&-", "2>&-", "| true", "2>&1 | true"])
@pytest.mark.parametrize("end", ["return 3", "raise TooManyFailures('too many')"])
def test_a_job_keeps_its_exit_code_when_nobody_reads(closed, end):
    """
    Whether the reader has gone or there never was one, the job goes to its end and says how it ended.
    """
    program = shlex.join([sys.executable, "-c", f"import time; time.sleep(0.2)\n{OUTPUT.format(end=end)}"])
    line = f'{program} {closed}; exit "${{PIPESTATUS[0]}}"'
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, check=False)

    assert 3 == done.returncode
    assert "Traceback" not in done.stderr


def test_a_connection_that_breaks_is_no_reader_that_leaves(monkeypatch):
    """
    The same error of a job's own socket is not taken for success.
    """

    def job(_settings):
        raise BrokenPipeError

    monkeypatch.setattr("workers.__main__._job", lambda _command: job)
    with pytest.raises(BrokenPipeError):
        main(["runs", "list", "--output", "x"])


def test_a_signal_while_a_job_is_loaded_stops_it_in_order(monkeypatch, capsys):
    """
    The seconds in which torch and Ray are loaded are no gap: exit code 130 and a sentence.
    """
    monkeypatch.setattr("workers.__main__._job", lambda _command: os.kill(os.getpid(), signal.SIGINT))

    assert 130 == main(["runs", "list", "--output", "x"])
    assert "stopped by a signal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "environment", "code", "told"),
    [
        ("score", {}, 5, "no such bucket"),
        ("score", {"AWS_SECRET_ACCESS_KEY": "wrong"}, 5, "credentials"),
        ("score", {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"}, 5, "endpoint"),
        ("train", {}, 2, "no manifest"),
        ("evaluate", {}, 2, "no model"),
    ],
)
def test_the_outside_world_fails_in_sentences(s3, tmp_path, command, environment, code, told):
    """
    A missing bucket, wrong credentials, a dead endpoint, a manifest or model that is not there.
    """
    arguments = {
        "score": ["--input", "s3://nobody-made-this", "--output", str(tmp_path / "out"), "--model", "m:1"],
        "train": ["--manifest", str(tmp_path / "none.parquet"), "--name", "m"],
        "evaluate": ["--model", "m:1", "--manifest", str(tmp_path / "none.parquet")],
    }[command]
    done = lga(command, *arguments, LGA_REGISTRY=str(tmp_path / "registry"), **environment)

    assert code == done.returncode, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert [] == list(tmp_path.iterdir())
