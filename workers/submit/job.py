"""``lga submit``: the same command as a Ray job: checked here, sent once, followed, its exit code passed on."""

from __future__ import annotations

import dataclasses
import itertools
import signal
import sys

from workers.errors import ClusterError, Stopped
from workers.logs import get_log
from workers.settings import SubmitSettings, settings_of_environment
from workers.submit.request import JobRequest, job_request
from workers.submit.server import JobServer, JobState


def submit(settings: SubmitSettings) -> int:
    """Submit, follow, and return the job's own exit code."""
    request = job_request(settings, settings_of_environment())
    server = JobServer(settings.address)
    request, state = _place(server, request, again=settings.again)
    if state is None and server.submit(request, settings.cpus):
        get_log().info("submit.job_submitted", job=request.name, address=settings.address)
    elif state is not None and state.ended:
        print(f"the job {request.name} has run already: {state.status}. --again runs it once more")
        return exit_code(state, request.name)
    else:
        print(f"the job {request.name} is there already; following it", file=sys.stderr)
    if not settings.follow:
        print(request.name)
        return 0
    return _follow(server, request.name, stop=settings.stop_on_interrupt)


def _place(server: JobServer, request: JobRequest, *, again: bool) -> tuple[JobRequest, JobState | None]:
    """The request under the name to use, and the state of the job that has the name already."""
    name = request.name
    for number in itertools.count(2):
        state = server.state(name)
        if state is None or not state.ended or not again:
            break
        name = f"{request.name}-{number}"
    return dataclasses.replace(request, name=name), state


def _follow(server: JobServer, name: str, *, stop: bool) -> int:
    try:
        state = server.follow(name)
    except Stopped:
        if not stop:
            print(f"the job {name} goes on; the same command follows it again", file=sys.stderr)
            raise
        server.stop(name)
        print(f"the job {name} was stopped", file=sys.stderr)
        raise
    code = exit_code(state, name)
    if code == ClusterError.exit_code != state.exit_code:
        raise ClusterError(f"the job {name} ended as {state.status}: {_gist(state.message)}")
    return code


def _gist(message: str) -> str:
    """What a message of Ray says before and after the tracebacks of its own code."""
    before, traceback, after = message.partition("Traceback (most recent call last)")
    if not traceback:
        return message
    last = next((line.strip() for line in reversed(after.splitlines()) if line.strip()), "")
    return f"{before.strip()} {last}"


def exit_code(state: JobState, name: str) -> int:
    """The job's own exit code; 5 when it has none: its environment could not be made, or something killed it."""
    get_log().info("submit.job_ended", job=name, status=state.status, exit_code=state.exit_code)
    if state.status == "SUCCEEDED":
        return 0
    code = state.exit_code or ClusterError.exit_code
    if code > 0:
        return code
    # As a shell tells of a signal; those that ask for an end are the job's own.
    return 128 - code if -code in (signal.SIGINT, signal.SIGTERM) else ClusterError.exit_code
