"""`lga submit` against the job server of a real cluster, started with `ray start`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.__main__ import main

pytest.importorskip("aiohttp", reason="needs Ray's job server: the extra [cluster]")

PROGRAM = """
import os, sys, time
words = sys.argv[1:]
print("asked for", *words, flush=True)
print("registry", os.environ.get("LGA_REGISTRY"), "secret", os.environ.get("AWS_SECRET_ACCESS_KEY"), flush=True)
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "seconds")
time.sleep(float(open(path).read()))
print("done", flush=True)
sys.exit(int(open(path.replace("seconds", "code")).read()))
"""
"""Stands in for the project: shows what reaches a job, and ends as it is told."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A Ray head with a job server on loopback; its address."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(4)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        port, gcs, agent, client = (probe.getsockname()[1] for probe in probes)
    address = f"http://127.0.0.1:{port}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "disabled",
    }
    # A busy machine needs longer than Ray grants: the head would end itself.
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "RAY_agent_register_timeout_ms": "300000"}
    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="lga-ray-", ignore_cleanup_errors=True) as folder:
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2", f"--port={gcs}",
            "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--dashboard-port={port}",
            f"--ray-client-server-port={client}",
                f"--dashboard-agent-listen-port={agent}", f"--temp-dir={folder}", "--disable-usage-stats",
        ]  # fmt: skip
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            end = time.monotonic() + 200
            while process.poll() is None and time.monotonic() < end and not answers(f"{address}/api/jobs/"):
                time.sleep(0.5)
            if not answers(f"{address}/api/jobs/"):
                process.terminate()
                pytest.fail(f"the cluster did not start: {process.communicate()[0].decode()}")
            yield address
        finally:
            process.terminate()
            process.wait(timeout=60)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")


def tree(folder: Path, *, seconds: float = 0, code: int = 0) -> Path:
    """A folder to send along, with the program that stands in."""
    (folder / "workers").mkdir(parents=True)
    (folder / "workers" / "__init__.py").touch()
    (folder / "workers" / "__main__.py").write_text(PROGRAM)
    (folder / "seconds").write_text(str(seconds))
    (folder / "code").write_text(str(code))
    return folder


def asked(cluster: str, folder: Path, *more: str) -> list[str]:
    return ["submit", "models", "list", "--address", cluster, "--working-dir", str(folder), *more]


def test_a_command_of_the_cluster_s_own_program(cluster, tmp_path, capsys):
    """
    Without a folder the program that is installed on the cluster runs; its log comes here as it is.
    """
    registry = str(tmp_path / "registry")

    assert 0 == main(["submit", "models", "list", "--registry", registry, "--address", cluster])
    assert "holds no model yet" in capsys.readouterr().out


def test_the_exit_code_is_passed_on_and_settings_travel(cluster, tmp_path, monkeypatch, capsys):
    """
    LGA_* settings reach the job, credentials do not; exit code 3 of the job is exit code 3 here.
    """
    monkeypatch.setenv("LGA_REGISTRY", "s3://models")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")

    assert 3 == main(asked(cluster, tree(tmp_path / "tree", code=3)))
    told = "".join(capsys.readouterr())
    assert "asked for models list" in told
    assert "registry s3://models secret None" in told
    assert "planted-secret" not in told


def test_the_same_is_not_run_twice(cluster, tmp_path, capsys):
    """
    A second identical submission is told what became of the first; --again runs it; other code is another job.
    """
    folder = tree(tmp_path / "tree")

    assert 0 == main(asked(cluster, folder))
    assert "asked for" in capsys.readouterr().out
    assert 0 == main(asked(cluster, folder))
    second = capsys.readouterr().out
    assert "has run already: SUCCEEDED" in second
    assert "asked for" not in second
    assert 0 == main(asked(cluster, folder, "--again"))
    assert "asked for" in capsys.readouterr().out
    (folder / "changed").touch()
    assert 0 == main(asked(cluster, folder))
    assert "asked for" in capsys.readouterr().out


@pytest.mark.parametrize(("flags", "status"), [(["--stop-on-interrupt"], "STOPPED"), ([], "RUNNING")])
def test_an_interrupt_stops_the_job_when_that_was_asked_for(cluster, tmp_path, flags, status):
    """
    Ctrl-C ends the following with 130; the job itself ends only with --stop-on-interrupt.
    """
    from ray.job_submission import JobSubmissionClient  # noqa: PLC0415

    name = f"interrupted-{status}"
    command = asked(cluster, tree(tmp_path / "tree", seconds=600), "--submission-id", name, *flags)
    process = subprocess.Popen([sys.executable, "-m", "workers", *command], stdout=subprocess.PIPE, text=True)
    seen = iter(process.stdout.readline, "")
    assert any("asked for" in line for line in seen)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    client = JobSubmissionClient(cluster)
    found = client.get_job_status(name).value
    client.stop_job(name)

    assert (130, status) == (process.returncode, found)


def test_a_server_that_is_not_there_is_told(capsys):
    """
    Exit code 5, the address and what to check; no traceback.
    """
    assert 5 == main(["submit", "models", "list", "--address", "http://127.0.0.1:1"])
    told = capsys.readouterr().err
    assert "http://127.0.0.1:1" in told
    assert "--address" in told
