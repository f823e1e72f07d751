"""The demo refuses to write over somebody's files."""

from __future__ import annotations

import os
import subprocess
import sys

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


def test_other_keys_and_settings_lead_nowhere_else(tmp_path):
    """
    Who has temporary keys of AWS, a profile, or variables of another project in the environment has the same demo.
    """
    program = """
import os, sys
from pathlib import Path
import workers.demo.job as job
from workers.settings import DemoSettings
from workers.storage import open_store

class Shell:
    def __init__(self, work, settings):
        pass

    def lga(self, command, *arguments):
        open_store(job.BUCKET).put("a", b"x")
        print(sorted(name for name in os.environ if name.startswith(("LGA_", "MLFLOW_"))))
        sys.exit(0)

job._Shell = Shell
job.demo(DemoSettings(workdir=Path(sys.argv[1])))
"""
    environment = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "AWS_SESSION_TOKEN": "FwoGZXIvYXdzEXAMPLE",
        "AWS_PROFILE": "nobody-made-this-one",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "LGA_OUTPUT": "s3://tags",
        "LGA_MAX_FAILURE_RATE": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "work")],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert 0 == done.returncode, done.stderr
    assert "[]" == done.stdout.strip()
