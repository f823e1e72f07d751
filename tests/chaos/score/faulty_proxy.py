"""An S3 server seen through a bad network: answers of 503, connections that break, bodies that crawl or end early.

It stands on one port for ever, while the server behind it may die and come back elsewhere. Which request meets which
fault is drawn by a seeded lot.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from urllib.parse import urlsplit

_BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
FAULTS = ("busy", "reset", "lost_answer", "cut", "slow")


class FaultyProxy:
    """Passes requests on to ``upstream``; a share of them goes wrong."""

    def __init__(self, upstream: str, share: float = 0.0, seed: int = 0) -> None:
        self.upstream, self.share = upstream, share
        self.met: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Clients hang up in the middle, and so do we.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await self._one(reader, writer):
                pass
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; False when the connection is at its end."""
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        names = {name.lower(): value for name, value in headers.items()}
        if "expect" in names:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(int(names.get("content-length", 0)))
        fault = self._random.choice(FAULTS) if self._random.random() < self.share else None
        self.met[fault or "none"] += 1
        if fault == "busy":
            writer.write(b"HTTP/1.1 503 Slow Down\r\nContent-Length: %d\r\n\r\n%b" % (len(_BUSY), _BUSY))
            return True
        if fault == "reset":
            writer.transport.abort()
            return False
        kept = [line for line in lines if not line.lower().startswith(("expect:", "connection:"))]
        request = "\r\n".join([kept[0], "Connection: close", *kept[1:]]).encode("latin-1")
        answer = await self._ask(request + body)
        if not answer or fault == "lost_answer":  # The server did what it was asked, and nobody hears of it.
            writer.transport.abort()
            return False
        if fault == "cut":
            writer.write(answer[: max(1, len(answer) * 2 // 3)])
            await writer.drain()
            return False
        if fault == "slow":
            for start in range(0, len(answer), 1 + len(answer) // 20):
                writer.write(answer[start : start + 1 + len(answer) // 20])
                await writer.drain()
                await asyncio.sleep(0.02)
        else:
            writer.write(answer)
        await writer.drain()
        return False

    async def _ask(self, request: bytes) -> bytes:
        """The whole answer of the server; nothing when it is not there."""
        where = urlsplit(self.upstream)
        try:
            reader, writer = await asyncio.open_connection(where.hostname, where.port)
            writer.write(request)
            answer = await reader.read()
        except OSError:
            return b""
        writer.close()
        return answer
