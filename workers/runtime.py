"""The process around a job: signals that stop it, readers that leave it, and Ray started or joined and left again."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from types import FrameType
from typing import Any, TextIO, cast

from workers.errors import ClusterError, Stopped, WorkerError
from workers.logs import get_log

_inside: ContextVar[bool] = ContextVar("_inside", default=False)
"""Whether a block of ``stopping_on_signals`` is open."""


@contextlib.contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into ``Stopped``, raised in the main thread at the next bytecode.

    A second signal must not interrupt the cleaning up: from the first one to the end of the outermost block both are
    ignored.
    """
    stopped = False

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Stopped(number)

    outermost = not _inside.get()
    token = _inside.set(True)
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        _inside.reset(token)
        if outermost or not stopped:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Output:
    """Stdout or stderr. When its reader has gone, the rest goes nowhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._turn_away()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._turn_away()

    def _turn_away(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def outliving_readers() -> Iterator[None]:
    """Let the block go on, and have its own exit code, when the reader of its output (head, a pager) has gone.

    Only writing to stdout and stderr is meant: another pipe that breaks is an error as before. Closed from the start
    (``>&-``), both are there to be written to, too.
    """
    with contextlib.ExitStack() as stack:
        for stream, redirect in (
            (sys.stdout, contextlib.redirect_stdout),
            (sys.stderr, contextlib.redirect_stderr),
        ):
            output = _Output(stream or stack.enter_context(open(os.devnull, "w", encoding="utf-8")))  # noqa: PTH123
            stack.callback(output.flush)
            stack.enter_context(redirect(cast("TextIO", output)))
        yield


_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # Of glibc's malloc.h.
_NEVER = 2**31 - 1

_COMPUTING = {
    # Threads of PyTorch that wait for each other must not spin: the cores decode photographs meanwhile.
    "OMP_WAIT_POLICY": "passive",
    # One heap for all threads. What `keep_freed_memory` asks for holds for the first heap alone, and Ray calls us on
    # other threads: their heaps of 64 MB went back to the system after every layer, for half of the CPU time again.
    "MALLOC_ARENA_MAX": "1",
}
"""Variables for Ray's processes, those that decode as well: they are no slower for it. The image has the same."""


def use_one_heap() -> None:
    """Let the threads that this process will start share one heap: what one of them frees serves the others.

    A driver has dozens, Ray's and Arrow's: 15 MB less after 10^5 objects. Nothing happens where the C library is
    another.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def keep_freed_memory() -> None:
    """Let this process keep what it frees: PyTorch asks for the same large arrays for every batch.

    Left alone, glibc gives each back to the system and fetches it again, page by page: a quarter of the CPU time of
    a small network. On other threads than the first it needs MALLOC_ARENA_MAX=1 besides. Nothing happens where the C
    library is another.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)


def keep_ray_on_loopback() -> None:
    """Make a Ray that is started here listen on 127.0.0.1 alone. Has to come before ``ray`` is imported.

    Without this every part of it listens on all addresses of the machine. The switch is Ray's own, made for systems on
    which it has no clusters; its name says so, and ``ray.init`` itself offers none.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


@contextlib.contextmanager
def memory_of_the_system() -> Iterator[None]:
    """Let Arrow, if it is loaded inside the block, take this process's memory from the C library.

    Arrow's own allocator keeps what was freed: 136 of 468 MB in a driver that has planned 10^5 objects. The choice can
    only be made before Arrow is loaded, by a variable; it is taken back, so that Ray's workers keep Arrow's own.
    """
    name = "ARROW_DEFAULT_MEMORY_POOL"
    if name in os.environ:  # Somebody has chosen.
        yield
        return
    os.environ[name] = "system"
    try:
        yield
    finally:
        del os.environ[name]


@contextlib.contextmanager
def ray_session(address: str | None, *, cpus: int | None = None) -> Iterator[None]:
    """A connection to Ray: the cluster at ``address``, or a local one that ends with the block.

    Inside a process that is connected already (a test, a Ray job's driver) that connection is used and left open.

    Args:
        address: ``auto``, ``HOST:PORT`` or ``ray://...``; None starts Ray on this machine.
        cpus: Logical CPUs of a Ray that is started here; None takes the machine's.

    Raises:
        ClusterError: If Ray does not start or answer.
    """
    import ray  # noqa: PLC0415 - two seconds that `lga --help` should not cost

    if ray.is_initialized():
        yield
        return
    # Ray announces at every start that its own cluster asks for a token; nobody can act on that.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning", "configure_logging": True}
    if address is None:
        for name, value in _COMPUTING.items():
            os.environ.setdefault(name, value)
        # Named, for without an address Ray joins whatever cluster somebody started on this machine.
        options |= {"address": "local", "num_cpus": cpus or os.cpu_count(), "include_dashboard": False}
    else:
        options |= {"address": address}
    try:
        ray.init(**options)
    except WorkerError:
        raise
    except Exception as error:  # Ray also raises the bare class, for example when its node starts too slowly.
        where = f"at {address}" if address else "on this machine"
        raise ClusterError(f"Ray cannot be reached {where}: {error}. Check --ray-address, or `lga doctor`") from error
    get_log().debug("ray.session_started", address=address or "local")
    try:
        # ray.init puts handlers of its own in the place of ours.
        with stopping_on_signals():
            yield
    finally:
        ray.shutdown()


def cluster_gpus() -> int:
    """GPUs that the cluster has. Asked of Ray, never of the driver's own machine."""
    import ray  # noqa: PLC0415

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("GPU", 0))
