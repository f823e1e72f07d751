"""An S3 server that can be disturbed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest
from disturbance import Server
from faulty_proxy import FaultyProxy

from workers.storage import forget_client


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    """The server; the environment of this process, and so of its children, points at its proxy."""
    before = dict(os.environ)
    with FaultyProxy("") as proxy, contextlib.ExitStack() as running:
        server = Server(tmp_path_factory.mktemp("s3"), proxy, running)
        server.start()
        os.environ.update(server.now.environment() | {"AWS_ENDPOINT_URL_S3": proxy.endpoint})
        forget_client()
        yield server
        os.environ.clear()
        os.environ.update(before)
        forget_client()
