"""What can go wrong, told to people: one tree, one exit code for each kind.

    WorkerError                 5  the outside world failed
    ├── SettingsError           2  the settings, or the input that they name, are wrong
    ├── StorageError            5  the object store did not answer as promised
    │   ├── ObjectMissing          nothing under that name
    │   ├── AccessDenied           the credentials do not allow it
    │   ├── Throttled              asked too often; worth trying again
    │   └── ConditionFailed        somebody else wrote first
    ├── ClusterError            5  Ray could not be started, reached, or kept alive
    ├── TooManyFailures         3  the run finished, but more objects failed than allowed
    ├── AlreadyRunning          0  another attempt does this work: nothing to do here
    ├── Superseded              5  another attempt took this run over
    ├── Refused                 4  the gate or the parity check said no
    └── Stopped           130/143  a signal asked for the end

Every message says what failed, on what, and the way out. All constructor arguments go to ``super()``: an error has to
survive pickling between Ray processes.
"""

from __future__ import annotations


class WorkerError(Exception):
    """The root of everything that is reported to a person without a traceback."""

    exit_code = 5
    retryable = False


class SettingsError(WorkerError):
    """A setting, or the input that it names, is wrong: only a person can mend it."""

    exit_code = 2


class StorageError(WorkerError):
    """The object store did not answer as promised."""

    def __init__(self, operation: str, uri: str, reason: str) -> None:
        super().__init__(operation, uri, reason)
        self.operation, self.uri, self.reason = operation, uri, reason

    def __str__(self) -> str:
        return f"cannot {self.operation} {self.uri}: {self.reason}"


class ObjectMissing(StorageError):
    """There is no such object, bucket or file."""


class AccessDenied(StorageError):
    """The store knows the request but not the right to make it: credentials missing, wrong or too weak."""


class Throttled(StorageError):
    """The store asks for fewer requests, or was briefly not there. The same request may succeed later."""

    retryable = True


class ConditionFailed(StorageError):
    """A conditional write lost: the object exists already, or is not the version that was read."""


class ClusterError(WorkerError):
    """Ray could not be started or reached, or lost the job."""


class TooManyFailures(WorkerError):
    """The run is complete and written, but more objects failed than ``--max-failure-rate`` allows."""

    exit_code = 3


class AlreadyRunning(WorkerError):
    """Another attempt is at work on the same run, and this one was told to leave it alone."""

    exit_code = 0


class Superseded(WorkerError):
    """Another attempt has taken the run over from this one. Nothing is lost: the other one finishes it."""


class Refused(WorkerError):
    """The gate or the parity check said no. Nothing was published."""

    exit_code = 4


class Stopped(WorkerError):
    """A signal asked the job to end; it stopped cleanly and continues when it is started again."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_code = 128 + signal_number

    def __str__(self) -> str:
        return "stopped by a signal; run the same command again to continue"
