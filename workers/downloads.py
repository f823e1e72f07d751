"""Whole objects, many at once, by requests that can be called off. obstore is imported here alone.

For the photographs of a run boto3 is too dear: it spends 2 to 3 ms of Python on each GET where obstore spends 0.6, and
a thread that waits for it cannot be ended, while a task that awaits obstore can be cancelled. Address, region and
credentials are those that boto3's standard chain found, so there is one way to configure S3.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import threading
from collections.abc import Callable
from datetime import timedelta

import obstore
from obstore.auth.boto3 import Boto3CredentialProvider
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store as Bucket

from workers.errors import AccessDenied, ObjectMissing, StorageError, Throttled
from workers.storage import Blob, FolderStore, S3Access, S3Store, Store, s3_access
from workers.storage.requests import count_request

_CONNECT_TIMEOUT, _SILENCE_TIMEOUT, _TIMEOUT = (
    "10s",
    "20s",
    "1h",
)  # What is the caller's to decide is put out of the way.
_STATUS = re.compile(r"status code: (\d{3})")
_AGAIN = {"408", "429"}


class TooLarge(StorageError):
    """The object is larger now than the caller wants to hold."""


class Downloads:
    """Reads the objects of one store. To be used from one event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, key: str, max_bytes: int) -> Blob:
        """Read one object whole, in one try; that of a folder has no token.

        Raises:
            TooLarge: If it has more bytes than ``max_bytes``; they are not read.
            StorageError: As ``Store.get``.
        """
        if (
            isinstance(self._store, S3Store)
            and (bucket := _bucket(self._store.bucket, s3_access()))
            and not key.startswith("/")
            and not key.endswith("/")  # obstore would cut it off, and read another object.
        ):
            try:
                return await self._counted_get(bucket, self._store, key, max_bytes)
            except ValueError:
                pass  # A key that obstore cannot name ("a//b", control characters): the other client can.
        return await _in_a_thread(functools.partial(_read, self._store, key, max_bytes))

    async def _counted_get(self, bucket: Bucket, store: S3Store, key: str, max_bytes: int) -> Blob:
        try:
            blob = await self._get_from_s3(bucket, store, key, max_bytes)
        except (Throttled, asyncio.CancelledError):
            count_request("get", "throttled")
            raise
        except StorageError:
            count_request("get", "answered")
            raise
        count_request("get", "answered")
        return blob

    async def _get_from_s3(self, bucket: Bucket, store: S3Store, key: str, max_bytes: int) -> Blob:
        path, uri = (f"{store.prefix}/{key}" if store.prefix else key), store.uri(key)
        try:
            answer = await obstore.get_async(bucket, path)
            size = answer.meta["size"]
            if size > max_bytes:
                raise TooLarge("read", uri, f"{size} bytes; the limit is {max_bytes}")
            data = bytes(await answer.bytes_async())
        except FileNotFoundError as error:
            raise ObjectMissing("read", uri, "there is no such object") from error
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise AccessDenied("read", uri, "the store refused the credentials; check AWS_* or its policy") from error
        except BaseError as error:
            raise _storage_error(uri, str(error)) from error
        if len(data) != size:
            raise Throttled("read", uri, f"{len(data)} of {size} bytes arrived")
        return Blob(data=data, token=answer.meta["e_tag"] or "")


@functools.cache
def _bucket(name: str, access: S3Access) -> Bucket | None:
    """One pool of connections for each bucket and process; None where boto3 finds no credentials, and so will say."""
    try:
        credentials = Boto3CredentialProvider(access.session, ttl=timedelta(minutes=5))
    except ValueError:
        return None
    # On AWS the bucket is part of the host's name; other servers expect it in the path.
    address = {"virtual_hosted_style_request": True} if access.is_aws else {"endpoint": access.endpoint}
    return Bucket(
        name,
        region=access.region,
        credential_provider=credentials,
        client_options={
            "allow_http": access.endpoint.startswith("http:"),
            "connect_timeout": _CONNECT_TIMEOUT,
            "read_timeout": _SILENCE_TIMEOUT,
            "timeout": _TIMEOUT,
        },
        retry_config={"max_retries": 0},  # Whether and when to ask again, the caller decides: it knows the deadline.
        **address,
    )


def _storage_error(uri: str, text: str) -> StorageError:
    status = match[1] if (match := _STATUS.search(text)) else ""
    if status.startswith("4") and status not in _AGAIN:
        return StorageError("read", uri, f"the store refused the request ({status})")
    # Anything else may pass: busy, ill, a connection that broke, a body that ended early or went silent.
    reason = f"the store is busy or ill ({status})" if status else "the connection failed or fell silent"
    return Throttled("read", uri, reason)


def _read(store: Store, key: str, max_bytes: int) -> Blob:
    """Read one object through the store's own client, whose ``get`` would read whatever there is."""
    is_folder = isinstance(store, FolderStore)
    start = store.get_range(key, 0, max_bytes + 1 if is_folder else 1)
    # A device says that it has no bytes, and never ends.
    if (size := max(start.size_bytes, len(start.data))) > max_bytes:
        raise TooLarge("read", store.uri(key), f"at least {size} bytes; the limit is {max_bytes}")
    # The bytes of a bucket's object come with the version that they are.
    return Blob(data=start.data, token="") if is_folder else store.get(key)


async def _in_a_thread(call: Callable[[], Blob]) -> Blob:
    """A thread for each call: one that hangs is left behind, and holds up no other."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Blob] = loop.create_future()

    def settle(blob: Blob | None, error: Exception | None) -> None:
        if future.done():  # Cancelled meanwhile.
            return
        if error is not None:
            future.set_exception(error)
        elif blob is not None:
            future.set_result(blob)

    def run() -> None:
        blob, problem = None, None
        try:
            blob = call()
        except Exception as error:  # noqa: BLE001 - it is the caller's
            problem = error
        with contextlib.suppress(RuntimeError):  # The loop has ended.
            loop.call_soon_threadsafe(settle, blob, problem)

    threading.Thread(target=run, daemon=True).start()
    return await future
