"""Programs from outside that these tests run; each is skipped by name where it is absent."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".venv" / "tools"
"""Where ``.ci/run`` puts programs that no package of this system has."""


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Finds a program by name; skips the test where it is not installed."""
    return find_program


def find_program(name: str) -> str:
    found = shutil.which(name, path=f"{CACHE}{os.pathsep}{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"needs the program {name}")
    return found


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Finds a port that nobody listens on."""
    return find_port


def find_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., None]:
    """Waits until a process answers on a URL."""
    return wait


def wait(url: str, process: subprocess.Popen[bytes], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"{process.args[0]} does not answer on {url}")


@contextlib.contextmanager
def run_pushgateway() -> Iterator[str]:
    """A running Pushgateway: HOST:PORT."""
    address = f"127.0.0.1:{find_port()}"
    process = subprocess.Popen(
        # Debian's keeps what it was told in a file of the system's, where the next one would find it.
        [find_program("prometheus-pushgateway"), f"--web.listen-address={address}", "--persistence.file="],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait(f"http://{address}/-/ready", process)
        yield address
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="session")
def start_pushgateway() -> Callable[[], contextlib.AbstractContextManager[str]]:
    """Starts a Pushgateway for a block."""
    return run_pushgateway


@pytest.fixture
def pushgateway() -> Iterator[str]:
    """A running Pushgateway: HOST:PORT."""
    with run_pushgateway() as address:
        yield address
