"""Ray's job server: submit, look, follow, stop; its errors in words for people."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from workers.errors import ClusterError, WorkerError
from workers.logs import get_log
from workers.submit.request import JobRequest

_LOOK_EVERY_S = 0.5
_START_TIMEOUT_S = 120.0
_AWAY_TIMEOUT_S = 60.0
_STARTING = "No available agent"  # Ray's words while the head is up and its agent is not.


@dataclass(frozen=True, kw_only=True)
class JobState:
    """Where a job stands."""

    status: str
    exit_code: int | None
    message: str

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in {"SUCCEEDED", "FAILED", "STOPPED"}


@dataclass
class _Log:
    """What was shown of a job's log: the server sends it from the beginning each time."""

    stream: TextIO
    shown: int = 0
    """Characters."""
    seen: int = 0
    """Characters that this connection has brought."""

    def write(self, text: str) -> None:
        """Show what is new of it."""
        self.stream.write(text[max(0, self.shown - self.seen) :])
        self.stream.flush()
        self.seen += len(text)
        self.shown = max(self.shown, self.seen)


class JobServer:
    """A connection to the job server at an address. Ray's client finds the cluster's token by itself."""

    def __init__(self, address: str) -> None:
        """Raises ``ClusterError`` if nobody answers there, or refuses."""
        self._address = address
        with self._told("reach"):
            from ray.job_submission import JobSubmissionClient  # noqa: PLC0415 - seconds that --help should not cost

            self._client: Any = JobSubmissionClient(address)

    def state(self, name: str) -> JobState | None:
        """The state of a job, None when there is none of that name."""
        with self._told("look at the jobs of"):
            details = next((job for job in self._client.list_jobs() if job.submission_id == name), None)
        if details is None:
            return None
        return JobState(status=str(details.status.value), exit_code=details.driver_exit_code, message=details.message)

    def submit(self, request: JobRequest, cpus: float | None) -> bool:
        """Submit a job; False when one of that name was there first. A cluster that just starts is waited for."""
        end = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                self._client.submit_job(
                    entrypoint=request.entrypoint, submission_id=request.name, runtime_env=request.runtime_env,
                    metadata=request.metadata, entrypoint_num_cpus=cpus,
                )  # fmt: skip
            except WorkerError:  # A signal.
                raise
            except Exception as error:
                if self.state(request.name) is not None:
                    return False
                if _STARTING not in str(error) or time.monotonic() > end:
                    line = _first_line(error)
                    raise ClusterError(f"the job server at {self._address} refused the job: {line}") from error
                time.sleep(_LOOK_EVERY_S)
            else:
                return True

    def follow(self, name: str, stream: TextIO | None = None) -> JobState:
        """Copy the job's log to a stream until the job ends; a connection that breaks is taken up again.

        What the job wrote is shown whole, also when it ended while the connection was gone.

        Raises:
            ClusterError: If the job vanished, or the server stays away.
        """
        log = _Log(stream or sys.stdout)
        while True:
            whole = asyncio.run(self._tail(name, log))
            state = self._state_after_a_while(name)
            if state is None:
                raise ClusterError(
                    f"the job {name} is not known to {self._address} any more; was the cluster replaced?"
                )
            if state.ended:
                if not whole:
                    self._show_rest(name, log)
                return state
            time.sleep(_LOOK_EVERY_S)

    def _show_rest(self, name: str, log: _Log) -> None:
        """Show what the log of an ended job has beyond what was shown; how the job ended counts more than its log."""
        try:
            with self._told(f"read the end of the log of {name} from"):
                text = self._client.get_job_logs(name)
        except ClusterError as error:
            get_log().warning("submit.log_is_cut_short", job=name, error=str(error))
            return
        log.seen = 0
        log.write(text)

    def _state_after_a_while(self, name: str) -> JobState | None:
        """The state of a job. The job goes on while its server cannot be reached: it is asked again for a minute."""
        end = time.monotonic() + _AWAY_TIMEOUT_S
        while True:
            try:
                return self.state(name)
            except ClusterError:
                if time.monotonic() > end:
                    raise
                time.sleep(_LOOK_EVERY_S)

    async def _tail(self, name: str, log: _Log) -> bool:
        """Show the log until it ends, or the connection does: then False. An error of the stream is neither."""
        from aiohttp import ClientError  # noqa: PLC0415 - of the extra [cluster]

        log.seen = 0
        texts = self._client.tail_job_logs(name)
        while True:
            try:
                text = await anext(texts)
            except StopAsyncIteration:
                return True
            except (OSError, RuntimeError, ClientError):
                return False
            log.write(text)

    def stop(self, name: str) -> JobState | None:
        """Ask the job to end, and wait until it has."""
        with self._told("stop a job of"):
            self._client.stop_job(name)
        while (state := self.state(name)) is not None and not state.ended:
            time.sleep(_LOOK_EVERY_S)
        return state

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        from ray.exceptions import RayError  # noqa: PLC0415 - as above

        try:
            yield
        except (RayError, ConnectionError, RuntimeError, OSError, ValueError, ImportError) as error:
            line = _first_line(error)
            advice = "Check --address and that the cluster is up"
            if "ray[default]" in line or isinstance(error, ImportError):
                advice = "Install the extra [cluster] here"
            elif any(word in line.lower() for word in ("401", "403", "token", "authenticat")):
                advice = "Give the cluster's token in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, with RAY_AUTH_MODE=token"
            raise ClusterError(f"cannot {what} the job server at {self._address}: {line}. {advice}") from error


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0][:300] if text else ''}"
