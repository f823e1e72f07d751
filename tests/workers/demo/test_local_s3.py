"""The local S3 server comes and goes with its block."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

import pytest

from workers.demo.local_s3 import local_s3
from workers.storage import s3_answers


def test_the_server_ends_with_the_block_whatever_happens(tmp_path):
    """
    An error inside leaves no process and no listener behind.
    """
    seen = []

    def use_and_fail():
        with local_s3(tmp_path, ("one-bucket",)) as server:
            seen.append((server, s3_answers(server.endpoint, server.access_key, server.secret_key, ("one-bucket",))))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use_and_fail()
    ((server, answered),) = seen

    assert answered
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)
    with socket.socket() as probe:
        assert 0 != probe.connect_ex(("127.0.0.1", urlsplit(server.endpoint).port))


def test_wrong_credentials_are_refused(s3):
    """
    It is a server with a lock: the tests of denied requests mean something.
    """
    assert not s3_answers(s3.server.endpoint, s3.server.access_key, "wrong", ())
