"""What happens between us and the job server: a signal ends it, a stream that fails is no connection that breaks."""

from __future__ import annotations

import io
import os
import signal
import time
from types import SimpleNamespace

import pytest

from workers.errors import Stopped
from workers.runtime import stopping_on_signals
from workers.submit.job import exit_code
from workers.submit.request import JobRequest
from workers.submit.server import JobServer, JobState

pytest.importorskip("aiohttp", reason="of the extra [cluster]")


class Client:
    """Stands in for Ray's client: one job, whose log comes over a connection that breaks the first time."""

    def __init__(self) -> None:
        self.connections = 0
        self.there = True

    def list_jobs(self):
        status = SimpleNamespace(value="RUNNING" if self.connections < 2 else "SUCCEEDED")
        job = SimpleNamespace(submission_id="job", status=status, driver_exit_code=None, message="")
        return [job] if self.there else []

    def submit_job(self, **_job):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)

    async def tail_job_logs(self, _name):
        self.connections += 1
        yield "first\n"
        if self.connections == 1:
            raise RuntimeError("WebSocket closed")
        yield "second\n"


@pytest.fixture
def server(monkeypatch) -> JobServer:
    monkeypatch.setattr("ray.job_submission.JobSubmissionClient", lambda _address: Client())
    return JobServer("http://head:8265")


@pytest.mark.parametrize("there", [False, True])
def test_a_signal_while_submitting_ends_it(server, there):
    """
    It is no refusal of the job server, whether the job has arrived or not.
    """
    server._client.there = there
    with pytest.raises(Stopped), stopping_on_signals():
        server.submit(JobRequest(name="job", entrypoint="true"), None)


def test_a_connection_that_breaks_is_taken_up_again(server):
    """
    Each line of the log is shown once.
    """
    stream = io.StringIO()

    assert "SUCCEEDED" == server.follow("job", stream).status
    assert "first\nsecond\n" == stream.getvalue()


def test_a_stream_that_fails_ends_the_following(server):
    """
    A full disk behind stdout is told; connecting once more would mend nothing.
    """

    class Full(io.StringIO):
        def write(self, _text):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        server.follow("job", Full())

    assert 1 == server._client.connections


@pytest.mark.parametrize(("code", "expected"), [(3, 3), (None, 5), (-9, 5), (-2, 130), (-15, 143)])
def test_a_driver_that_was_killed_has_an_exit_code_as_well(code, expected):
    """
    The job's own, or that of the signal that asked it to end; whatever else killed it is the outside world.
    """
    assert expected == exit_code(JobState(status="FAILED", exit_code=code, message=""), "job")
