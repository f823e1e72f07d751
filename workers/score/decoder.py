"""Decoding in a process of its own: one that hangs is ended, one that crashes takes nobody with it.

No thread can be killed, and a decoder that loops inside C, or is led to write where it should not, would otherwise
hold a core, or the whole task, for ever. Bytes go in and pixels come back through shared memory; only a line of JSON
for each image goes through the socket (never a pickle: the other side has read hostile bytes).

    parent  put bytes into a slot  -- [slot, length] ---->  child  decode, put pixels into the slot
    parent  take pixels           <-- [cpu_s, ...] -------

Two slots: the child never waits for the parent to fill the next one.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from lga_model.images import DecodedImage, ImageError, ImageLimits, decode_image
from workers.errors import ClusterError
from workers.score.objects import Failure
from workers.settings.shared import DecodeOn

_SLOTS = 2
_MESSAGE_BYTES = 65_536
_TRIES = 2
_READY = b"ready"
_START_S = 120.0
_SHORTEST_S = 0.1  # An image that took all its time to arrive still gets so much to be decoded.
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_BYTES_PER_PIXEL = 20  # RGBA, laid over white, RGB, and the copies between them: the worst that decoding needs.
_PROGRAM_BYTES = 2 * 1024**3  # Address space of the libraries, most of it never touched.


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What became of one image."""

    outcome: DecodedImage | Failure
    """Its pixels are to be taken before the next image is asked for."""
    cpu_s: float


class Decoder:
    """A child that decodes; started when it is first needed, and again after it was ended."""

    def __init__(self, size_px: int, limits: ImageLimits, decode_on: DecodeOn = "cpu") -> None:
        """Reserve the shared memory; pages that are never written cost nothing."""
        self._size_px, self._limits, self._decode_on = size_px, limits, decode_on
        self._memory = _Memory(os.memfd_create("lga-decoder"), size_px, limits.max_bytes)
        self._child: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def decode_all(self, images: Iterable[tuple[bytes, float]]) -> Iterator[Decoded]:
        """Decode images in their order, one ahead of the one that is waited for.

        Args:
            images: The encoded bytes of each, and the seconds that it may take.
        """
        ahead: deque[_Asked] = deque()
        try:
            for number, (data, timeout_s) in enumerate(images):
                ahead.append(self._ask(_Asked(slot=number % _SLOTS, data=data, timeout_s=timeout_s)))
                if len(ahead) == _SLOTS:
                    yield self._answer(ahead)
            while ahead:
                yield self._answer(ahead)
        finally:
            if ahead:  # Left early: answers that nobody waits for must not meet the next images.
                self.close()

    def close(self) -> None:
        """End the child. Harmless when repeated."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        if self._socket is not None:
            self._socket.close()
        self._child = self._socket = None

    def _ask(self, asked: _Asked) -> _Asked:
        if len(asked.data) > self._limits.max_bytes:
            return asked  # The child would refuse it as well, but it has no room for it.
        with contextlib.suppress(OSError):  # A child that is gone is noticed when its answer is awaited.
            self._memory.put_bytes(asked.slot, asked.data)
            self._connected().send(json.dumps([asked.slot, len(asked.data)]).encode())
        return asked

    def _answer(self, ahead: deque[_Asked]) -> Decoded:
        asked = ahead.popleft()
        if len(asked.data) > self._limits.max_bytes:
            detail = f"{len(asked.data)} bytes; the limit is {self._limits.max_bytes}"
            return Decoded(outcome=Failure(reason="too_large", detail=detail), cpu_s=0.0)
        begun = time.monotonic()
        # A child may be killed from outside: only an image that ends it twice is to blame.
        for _ in range(_TRIES):
            try:
                # Its own time begins when the one before it is done.
                child = self._connected()
                child.settimeout(max(asked.timeout_s, _SHORTEST_S))
                if message := child.recv(_MESSAGE_BYTES):
                    cpu_s, *told = json.loads(message)
                    return Decoded(outcome=self._outcome(asked.slot, told), cpu_s=cpu_s)
            except TimeoutError:
                failure = Failure(reason="timeout", detail=f"decoding took more than {asked.timeout_s:.3g} s")
                self._replace(*ahead)
                break
            except OSError:
                pass
            failure = Failure(reason="decode_error", detail=f"the decoder crashed ({self._end()})")
            self._replace(asked, *ahead)
        else:
            self._replace(*ahead)
        return Decoded(outcome=failure, cpu_s=time.monotonic() - begun)

    def _replace(self, *again: _Asked) -> None:
        """Start another child, and give it what the one before had been given."""
        self.close()
        for asked in again:
            self._ask(asked)

    def _outcome(self, slot: int, told: list[Any]) -> DecodedImage | Failure:
        if isinstance(told[0], str):
            return Failure(reason=told[0], detail=told[1])
        width, height = told
        return DecodedImage(pixels_HWC=self._memory.pixels(slot), width_px=width, height_px=height)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            # Keeps the bounds of messages, and is at its end when the other side dies.
            self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            passed = (theirs.fileno(), self._memory.descriptor)
            arguments = [*passed, self._size_px, self._limits.max_bytes, self._limits.max_pixels, self._decode_on]
            command = [sys.executable, "-m", "workers.score.decoder", *(str(argument) for argument in arguments)]
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
            with theirs:
                self._child = subprocess.Popen(command, pass_fds=passed, env=environment)  # noqa: S603 - our own program
            # What it takes to start is not on any image's time.
            self._socket.settimeout(_START_S)
            with contextlib.suppress(TimeoutError):
                if self._socket.recv(_MESSAGE_BYTES) == _READY:
                    return self._socket
            self.close()
            doubt = "has this machine a GPU that PyTorch can use" if self._decode_on == "gpu" else "is it out of memory"
            raise ClusterError(f"the decoder of this machine did not start; {doubt}?")
        return self._socket

    def _end(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._child.wait(1.0) if self._child else 0
            return signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return "its connection broke"


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """An image on its way."""

    slot: int
    data: bytes
    timeout_s: float


class _Memory:
    """What both sides see: for each slot the encoded bytes, then the pixels."""

    def __init__(self, descriptor: int, size_px: int, max_bytes: int) -> None:
        self.descriptor = descriptor
        self._size_px, self._max_bytes = size_px, max_bytes
        self._stride = max_bytes + size_px * size_px * 3
        os.ftruncate(descriptor, _SLOTS * self._stride)
        self._map = mmap.mmap(descriptor, _SLOTS * self._stride)

    def put_bytes(self, slot: int, data: bytes) -> None:
        """Write the encoded bytes of a slot."""
        self._map[slot * self._stride : slot * self._stride + len(data)] = data

    def bytes(self, slot: int, length: int) -> bytes:
        """Read them again."""
        return self._map[slot * self._stride : slot * self._stride + length]

    def pixels(self, slot: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The pixels of a slot, ``[size_px, size_px, 3]``: not a copy."""
        shape = (self._size_px, self._size_px, 3)
        return np.ndarray(shape, np.uint8, self._map, offset=slot * self._stride + self._max_bytes)


def serve(parent: socket.socket, memory: _Memory, decode: Callable[[bytes], DecodedImage]) -> None:
    """Decode what is asked for until nobody asks any more. The child's main loop."""
    parent.send(_READY)
    while message := parent.recv(_MESSAGE_BYTES):
        slot, length = json.loads(message)
        begun = time.process_time()
        told: list[Any]
        try:
            image = decode(memory.bytes(slot, length))
            memory.pixels(slot)[:] = image.pixels_HWC
            told = [image.width_px, image.height_px]
        except ImageError as error:
            told = [error.reason, error.detail]
        parent.send(json.dumps([time.process_time() - begun, *told]).encode())


def main(arguments: list[str]) -> None:
    """Run the child: descriptors of socket and memory, side of the square, limits, where to decode."""
    ours, shared, size_px, max_bytes, max_pixels = (int(argument) for argument in arguments[:-1])
    on_gpu = arguments[-1] == "gpu"
    # A child that hangs must not outlive a parent that was killed.
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent: it ends us.
    cv2.setNumThreads(1)  # There is a decoder for each core.
    limits = ImageLimits(max_bytes=max_bytes, max_pixels=max_pixels)
    if not on_gpu:  # CUDA takes more addresses than any machine has memory.
        # A bomb that gets by all other checks runs out of memory here, and becomes a row.
        most = _PROGRAM_BYTES + 2 * max_bytes + _BYTES_PER_PIXEL * max_pixels
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    decode = _on_gpu(size_px, limits) if on_gpu else lambda data: decode_image(data, size_px, limits)
    with socket.socket(fileno=ours) as parent, contextlib.suppress(OSError):  # The parent may end at any time.
        serve(parent, _Memory(shared, size_px, limits.max_bytes), decode)


def _on_gpu(size_px: int, limits: ImageLimits) -> Callable[[bytes], DecodedImage]:
    from lga_model.gpu_images import GpuDecoder  # noqa: PLC0415 - PyTorch takes seconds to load

    return GpuDecoder(size_px, limits).decode


if __name__ == "__main__":
    main(sys.argv[1:])
