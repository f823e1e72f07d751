"""Ray's job server: submit, look, follow, stop; its errors in words for people."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from workers.errors import ClusterError
from workers.submit.request import JobRequest

_LOOK_EVERY_S = 0.5
_START_TIMEOUT_S = 120.0
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

        Raises:
            ClusterError: If the job vanished, or the server stays away.
        """
        shown = 0
        while True:
            with contextlib.suppress(OSError, RuntimeError, asyncio.TimeoutError):
                shown = asyncio.run(self._tail(name, stream or sys.stdout, shown))
            state = self.state(name)
            if state is None:
                raise ClusterError(
                    f"the job {name} is not known to {self._address} any more; was the cluster replaced?"
                )
            if state.ended:
                return state
            time.sleep(_LOOK_EVERY_S)

    async def _tail(self, name: str, stream: TextIO, shown: int) -> int:
        """Show what comes after the first ``shown`` characters; returns how many have been shown now."""
        seen = 0
        async for text in self._client.tail_job_logs(name):
            fresh = text[max(0, shown - seen) :]
            seen += len(text)
            stream.write(fresh)
            stream.flush()
            shown = max(shown, seen)
        return shown

    def stop(self, name: str) -> JobState | None:
        """Ask the job to end, and wait until it has."""
        with self._told("stop a job of"):
            self._client.stop_job(name)
        while (state := self.state(name)) is not None and not state.ended:
            time.sleep(_LOOK_EVERY_S)
        return state

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except (ConnectionError, RuntimeError, OSError, ValueError, ImportError) as error:
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
