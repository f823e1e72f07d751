"""`lga submit` against the job server of a real cluster, started with `ray start`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

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

PODMAN = """
import os, sys
words = iter(sys.argv[2:])  # behind `run`
variables, mounts, entrypoint, image = {}, {}, [], None
for word in words:
    if word == "-v":
        source, target = next(words).split(":")[:2]
        mounts[target] = source
    elif word == "--env":
        name, _, value = next(words).partition("=")
        variables[name] = value
    elif word == "--entrypoint":
        entrypoint = [next(words)]
    elif not word.startswith("-"):
        image = word
        break
print(image, variables.get("LGA_REGISTRY"), file=open(os.environ["PODMAN_LOG"], "a"), flush=True)
if image == "missing:1":
    sys.exit("no such image: missing:1")
command = [*entrypoint, *words]
for target, source in mounts.items():
    command = [part.replace("'" + target + "/", "'" + source + "/") for part in command]
os.execvpe(command[0], command, os.environ | variables)
"""
"""Stands in for podman: takes the words that Ray gives it, and runs the command without a container."""

TOKEN = "planted-cluster-token-4711"


@dataclass(frozen=True)
class Cluster:
    """A running cluster, and what its podman was asked for."""

    address: str
    podman_log: Path


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """A Ray head with a job server on loopback, closed to whoever does not know its token."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(4)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        port, gcs, agent, client = (probe.getsockname()[1] for probe in probes)
    address = f"http://127.0.0.1:{port}"
    programs = tmp_path_factory.mktemp("programs")
    podman = programs / "podman"
    podman.write_text(f"#!{sys.executable}\n{PODMAN}")
    podman.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {
        "PATH": os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "PODMAN_LOG": str(programs / "log"),
    }
    # A busy machine needs longer than Ray grants: the head would end itself.
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "RAY_agent_register_timeout_ms": "300000"}
    # Nobody is served here whose requests have to end first: at the end Ray would wait half a minute for them.
    environment |= {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}
    # Ray's sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="lga-ray-", ignore_cleanup_errors=True) as folder:
        command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=2", f"--port={gcs}",
            "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--dashboard-port={port}",
            f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}", f"--temp-dir={folder}",
            "--disable-usage-stats",
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
            yield Cluster(address, programs / "log")
        finally:
            process.terminate()
            process.wait(timeout=60)


@dataclass
class Link:
    """A way to a port that can be cut, and mended."""

    port: int
    is_cut: bool = False
    ends: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.server.accept()
                if self.is_cut:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self.port))
                self.ends += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """End every connection, and take no new one."""
        self.is_cut = True
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def answers(url: str) -> bool:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    try:
        with urllib.request.urlopen(request, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def submission(cluster: Cluster, *words: str, token: str | None = TOKEN, **more: str) -> subprocess.Popen[str]:
    """`lga submit` in a process of its own: Ray remembers a process's token."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_AUTH", "LGA_"))}
    environment |= {"RAY_AUTH_MODE": "token", "HOME": "/nonexistent", "PYTHONPATH": os.pathsep.join(sys.path)} | more
    if token is not None:
        environment["RAY_AUTH_TOKEN"] = token
    return subprocess.Popen(
        [sys.executable, "-m", "workers", "submit", *words, "--address", cluster.address],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def submitted(cluster: Cluster, *words: str, **more) -> tuple[int, str]:
    """Exit code, and everything that was told; never the token."""
    process = submission(cluster, *words, **more)
    told = "".join(process.communicate(timeout=120))
    assert TOKEN not in told
    return process.returncode, told


def tree(folder: Path, *, seconds: float = 0, code: int = 0) -> Path:
    """A folder to send along, with the program that stands in."""
    (folder / "workers").mkdir(parents=True)
    (folder / "workers" / "__init__.py").touch()
    (folder / "workers" / "__main__.py").write_text(PROGRAM)
    (folder / "seconds").write_text(str(seconds))
    (folder / "code").write_text(str(code))
    return folder


def asked(folder: Path, *more: str) -> tuple[str, ...]:
    return "models", "list", "--working-dir", str(folder), *more


def test_a_command_of_the_cluster_s_own_program(cluster, tmp_path):
    """
    Without a folder the program that is installed on the cluster runs; its log comes here as it is.
    """
    code, told = submitted(cluster, "models", "list", "--registry", str(tmp_path / "registry"))

    assert 0 == code, told
    assert "holds no model yet" in told


def test_the_exit_code_is_passed_on_and_settings_travel(cluster, tmp_path):
    """
    LGA_* settings reach the job, credentials do not; exit code 3 of the job is exit code 3 here.
    """
    environment = {"LGA_REGISTRY": "s3://models", "AWS_SECRET_ACCESS_KEY": "planted-secret"}
    code, told = submitted(cluster, *asked(tree(tmp_path / "tree", code=3)), **environment)

    assert 3 == code, told
    assert "asked for models list" in told
    assert "registry s3://models secret None" in told
    assert "planted-secret" not in told


def test_the_same_is_not_run_twice(cluster, tmp_path):
    """
    A second identical submission is told what became of the first; --again runs it; other code is another job.
    """
    folder = tree(tmp_path / "tree")
    first = submitted(cluster, *asked(folder))
    second = submitted(cluster, *asked(folder))
    again = submitted(cluster, *asked(folder, "--again"))
    (folder / "changed").touch()
    changed = submitted(cluster, *asked(folder))

    assert [0] * 4 == [code for code, _ in (first, second, again, changed)]
    assert [True, False, True, True] == ["asked for" in told for _, told in (first, second, again, changed)]
    assert "has run already: SUCCEEDED" in second[1]


@pytest.mark.parametrize(("flags", "ends"), [(["--stop-on-interrupt"], True), ([], False)])
def test_an_interrupt_stops_the_job_when_that_was_asked_for(cluster, tmp_path, flags, ends):
    """
    Ctrl-C ends the following with 130; the job itself ends only with --stop-on-interrupt.
    """
    name = f"interrupted-{ends}"
    words = asked(tree(tmp_path / "tree", seconds=600), "--submission-id", name)
    process = submission(cluster, *words, *flags)
    seen = iter(process.stdout.readline, "")
    assert any("asked for" in line for line in seen)
    process.send_signal(signal.SIGINT)
    told = "".join(process.communicate(timeout=60))
    # The same again: it is followed while it runs, and told about when it has ended.
    _, found = submitted(cluster, *words, "--no-follow")

    assert 130 == process.returncode, told
    assert ("was stopped" if ends else "goes on") in told
    assert ("has run already: STOPPED" if ends else "is there already") in found


@pytest.mark.parametrize("ends_meanwhile", [False, True])
def test_a_connection_that_breaks_is_taken_up_again(cluster, tmp_path, ends_meanwhile):
    """
    The job goes on meanwhile; its log is shown from where it broke, once and to its end, and its exit code comes.
    """
    link = Link(int(cluster.address.rpartition(":")[2]))
    name = f"cut-off-{ends_meanwhile}"
    folder = tree(tmp_path / "tree", seconds=3 if ends_meanwhile else 8, code=3)
    words = asked(folder, "--submission-id", name)
    process = submission(replace(cluster, address=link.address), *words)
    shown = [process.stdout.readline()]
    while "asked for" not in shown[-1]:
        shown.append(process.stdout.readline())
        assert shown[-1], process.communicate()
    link.cut()
    if ends_meanwhile:
        while "has run already" not in submitted(cluster, *words, "--no-follow")[1]:
            time.sleep(0.5)
    else:
        time.sleep(1.5)
    link.is_cut = False
    told = "".join([*shown, *process.communicate(timeout=60)])
    link.server.close()

    assert 3 == process.returncode, told
    assert (1, 1) == (told.count("asked for"), told.count("done")), told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("token", "told"), [("wrong-token-0815", "Invalid authentication token"), (None, "find an authentication token")]
)
def test_without_the_token_of_the_cluster_nothing_runs(cluster, tmp_path, token, told):
    """
    Exit code 5, and which variables to set; neither token is told.
    """
    code, found = submitted(cluster, "models", "list", "--registry", str(tmp_path), token=token)

    assert 5 == code, found
    assert told in found
    assert "Give the cluster's token in RAY_AUTH_TOKEN" in found
    assert "wrong-token-0815" not in found
    assert "Traceback" not in found


def test_a_command_in_an_image(cluster, tmp_path):
    """
    Driver and settings go into the container that podman is asked for; it ends as the command ends.
    """
    registry = str(tmp_path / "registry")
    code, told = submitted(cluster, "models", "list", "--image", "lga:cpu", LGA_REGISTRY=registry)

    assert 0 == code, told
    assert "holds no model yet" in told
    assert f"lga:cpu {registry}" in cluster.podman_log.read_text()


def test_an_image_that_is_not_there_is_told(cluster):
    """
    Exit code 5 with what podman said.
    """
    code, told = submitted(cluster, "models", "list", "--image", "missing:1")

    assert 5 == code, told
    assert "no such image: missing:1" in told
    assert "Traceback" not in told


def test_a_server_that_is_not_there_is_told(tmp_path):
    """
    Exit code 5, the address and what to check; no traceback.
    """
    code, told = submitted(Cluster("http://127.0.0.1:1", tmp_path), "models", "list")

    assert 5 == code
    assert "http://127.0.0.1:1" in told
    assert "--address" in told
    assert "Traceback" not in told
