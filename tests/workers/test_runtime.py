"""A signal ends a job in order, and a local Ray listens to this machine alone."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray

from workers.errors import Stopped
from workers.runtime import ray_session, stopping_on_signals


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_becomes_an_error_with_its_exit_code(number, exit_code):
    """
    The job's own cleaning up runs, and the handlers from before come back.
    """
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as caught, stopping_on_signals():
        os.kill(os.getpid(), number)

    assert exit_code == caught.value.exit_code
    assert before is signal.getsignal(number)


def test_a_second_signal_does_not_disturb_the_cleaning():
    """
    An impatient Ctrl-C while the job stops is ignored.
    """
    cleaned = []

    def stop_twice():
        with stopping_on_signals():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os.kill(os.getpid(), signal.SIGINT)
                cleaned.append(True)

    with pytest.raises(Stopped):
        stop_twice()

    assert [True] == cleaned


def test_a_second_signal_does_not_disturb_the_cleaning_around_a_session():
    """
    What an inner block has let go is cleaned up by the outer ones: both signals stay ignored until the last has ended.
    """
    before = signal.getsignal(signal.SIGTERM)
    cleaned = []

    def stop_twice():
        with stopping_on_signals():
            try:
                # As ray.init does.
                signal.signal(signal.SIGTERM, signal.default_int_handler)
                with stopping_on_signals():
                    os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGINT)
                cleaned.append(True)

    with pytest.raises(Stopped):
        stop_twice()

    assert [True] == cleaned
    assert before is signal.getsignal(signal.SIGTERM)


def test_the_driver_s_arrow_takes_memory_from_the_system(tmp_path):
    """
    And what it starts later chooses for itself.
    """
    words = ["score", "--input", str(tmp_path / "no"), "--output", str(tmp_path), "--registry", "x", "--model", "m"]
    program = f"""
import os, sys
from workers.__main__ import main
assert "pyarrow" not in sys.modules
assert main({words}) != 0
import pyarrow
print(pyarrow.default_memory_pool().backend_name, os.environ.get("ARROW_DEFAULT_MEMORY_POOL"))
"""
    environment = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)

    assert "system None" == found.stdout.strip()


def heaps() -> int:
    """Heaps of this process after a few threads have asked for memory; run in a process of its own."""
    threads = [threading.Thread(target=lambda: np.ones(5000).sum()) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with tempfile.NamedTemporaryFile() as file:
        libc = ctypes.CDLL(None)
        libc.fopen.restype = ctypes.c_void_p
        stream = ctypes.c_void_p(libc.fopen(file.name.encode(), b"w"))
        libc.malloc_info(0, stream)
        libc.fclose(stream)
        return file.read().count(b"<heap ")


def test_threads_of_a_network_share_one_heap():
    """
    What was freed in one thread serves the next layer in another: so it is in the processes of a Ray of ours.
    """
    program = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent)]}
from workers.runtime import keep_ray_on_loopback, ray_session
keep_ray_on_loopback()
import ray
from test_runtime import heaps
with ray_session(None, cpus=1):
    found = ray.get(ray.remote(heaps).remote())
print(found)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)

    assert "1" == found.stdout.splitlines()[-1]


def test_threads_of_a_driver_share_one_heap():
    """
    So do those of every command, that of Ray and Arrow included.
    """
    program = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent)]}
from workers.__main__ import main
assert main(["tags", "query", "--output", "/nowhere/at/all", "select 1"]) != 0
from test_runtime import heaps
print(heaps())
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "1" == found.stdout.strip()


def test_a_session_inside_a_session_is_the_same_one(ray_local):
    """
    A job that runs inside a connected process neither starts nor stops a Ray.
    """
    node = ray.get_runtime_context().get_node_id()
    with ray_session(None):
        assert node == ray.get_runtime_context().get_node_id()

    assert ray.is_initialized()


def test_a_local_ray_listens_on_loopback_alone(ray_local):
    """
    No port of any of Ray's processes is open to the network.
    """
    family = [psutil.Process()]
    addresses = [
        connection.laddr.ip
        for process in family + family[0].children(recursive=True)
        if "ray" in process.name() or "gcs" in process.name()
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    ]

    assert addresses
    assert {"127.0.0.1"} == {address.removeprefix("::ffff:") for address in addresses}
