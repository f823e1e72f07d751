"""Objects under a URI: an S3 bucket or a folder behind the same seven calls. boto3 is imported here alone.

A store is bound to a root (``s3://bucket/prefix``, a path, ``file://...``) and speaks of keys relative to it, always
with forward slashes. Writes are atomic: a reader sees the whole object or none. Conditional writes are what
exactly-once and the registry's aliases rest on.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

import boto3
from boto3.exceptions import S3UploadFailedError
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from typing_extensions import override

from workers.errors import AccessDenied, ConditionFailed, ObjectMissing, SettingsError, StorageError, Throttled
from workers.storage_requests import count_request

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef

_MISSING = {"NoSuchKey", "NoSuchBucket", "NotFound", "404"}
_DENIED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "403", "401"}
_THROTTLED = {
    "SlowDown",
    "Throttling",
    "RequestTimeout",
    "ServiceUnavailable",
    "InternalError",
    "500",
    "502",
    "503",
    "504",
}
_SERVER_ERROR = 500
_NO_SUCH_RANGE = 416
_CONDITION = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """One entry of a listing."""

    key: str
    """Relative to the store's root."""
    etag: str
    """Changes when the content changes. For a folder: modification time and size."""
    size_bytes: int
    last_modified: datetime


@dataclass(frozen=True, kw_only=True)
class Blob:
    """The content of one object and a token that a conditional write can name."""

    data: bytes
    token: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some bytes of an object, and how many it has."""

    data: bytes
    size_bytes: int


class Store(Protocol):
    """What a job needs of an object store. Safe to use from several threads; pickles by its root."""

    root: str

    def get(self, key: str) -> Blob:
        """Read one object whole. Raises ``ObjectMissing``, ``AccessDenied``, ``Throttled``, ``StorageError``."""

    def get_range(self, key: str, start: int, length: int) -> Part:
        """Read some bytes of an object, fewer where it ends.

        Args:
            key: Name relative to the root.
            start: Of the first byte; negative counts from the end, and reads to the end.
            length: How many bytes.

        Raises:
            StorageError: As ``get``.
        """

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_token: str | None = None) -> str:
        """Write one object atomically and return its new token.

        Args:
            key: Name relative to the root.
            data: The whole content.
            if_absent: Only when there is no such object yet.
            if_token: Only when the object is still the version that ``get`` returned with this token.

        Raises:
            ConditionFailed: Somebody else wrote first. Nothing was changed.
        """

    def put_file(self, key: str, path: Path) -> None:
        """Write one object from a file, atomically, whatever its size."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """All objects whose key starts with ``prefix``, streamed, in the store's own order.

        That order is not to be relied on: most S3 servers sort by bytes, some walk folders.
        """

    def exists(self, key: str) -> bool:
        """Whether the object is there."""

    def delete(self, key: str) -> None:
        """Remove the object; no error when it is gone already."""

    def under(self, prefix: str) -> Store:
        """The store rooted one or more levels deeper."""

    def uri(self, key: str = "") -> str:
        """The full name of a key, for messages and for other programs."""


def open_store(uri: str) -> Store:
    """The store behind a URI: ``s3://bucket[/prefix]``, ``file:///path`` or a path.

    Raises:
        SettingsError: If the scheme is not known or the bucket is not named.
    """
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        if not parts.netloc:
            raise SettingsError(f"{uri!r} names no bucket; write s3://BUCKET/PREFIX")
        # Not parts.path: a key may hold '?' and '#', which a URL parser would cut off.
        return S3Store(parts.netloc, uri.removeprefix(f"s3://{parts.netloc}").strip("/"))
    if parts.scheme == "file":
        return FolderStore(Path(unquote(parts.path)))
    if "://" in uri:
        raise SettingsError(f"cannot use {uri!r}: only s3://, file:// and paths are understood")
    if not uri:
        raise SettingsError("an empty path was given where a URI or a path is expected")
    return FolderStore(Path(uri).expanduser())


def split_uri(uri: str) -> tuple[Store, str]:
    """The store of the folder that holds one object, and the object's name in it."""
    head, _, name = uri.rstrip("/").rpartition("/")
    if not head and not uri.startswith("/"):
        head = "."
    return open_store(head or "/"), name


def read_uri(uri: str) -> bytes:
    """Read one object by its full name. Errors as ``Store.get``."""
    store, name = split_uri(uri)
    return store.get(name).data


@functools.cache
def _client() -> S3Client:
    # One client for a process: making one costs 100 ms, and it may be shared between threads.
    config = Config(
        retries={"mode": "standard", "max_attempts": 5},
        max_pool_connections=64,
        connect_timeout=10,
        read_timeout=60,
    )
    # A session of our own: boto3's default one would remember the first credentials it saw for ever.
    client = boto3.session.Session().client("s3", config=config)
    client.meta.events.register("response-received.s3", _count_answer)
    return client


_OPERATIONS = {
    "GetObject": "get",
    "PutObject": "put",
    "ListObjectsV2": "list",
    "HeadObject": "head",
    "DeleteObject": "delete",
}


def _count_answer(event_name: str = "", parsed_response: dict[str, Any] | None = None, **_: object) -> None:
    """Called by botocore after each attempt; without a response when the connection broke."""
    answer = parsed_response or {}
    code = str(answer.get("Error", {}).get("Code", ""))
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    throttled = not answer or code in _THROTTLED or status >= _SERVER_ERROR
    operation = _OPERATIONS.get(event_name.rpartition(".")[2], "other")
    count_request(operation, "throttled" if throttled else "answered")


@dataclass(frozen=True, kw_only=True)
class S3Access:
    """What boto3's standard chain found out, for another client of the same servers."""

    endpoint: str
    region: str
    session: boto3.session.Session

    @property
    def is_aws(self) -> bool:
        """Whether this is Amazon's own S3."""
        return bool(re.fullmatch(r"https://[^/]*\.amazonaws\.com(\.cn)?/?", self.endpoint))


@functools.cache
def s3_access() -> S3Access:
    """Where S3 is, and the session that holds the credentials."""
    meta = _client().meta
    return S3Access(endpoint=meta.endpoint_url, region=meta.region_name, session=boto3.session.Session())


def forget_client() -> None:
    """Make the next request read the environment again, after the credentials or the endpoint changed."""
    _client.cache_clear()
    s3_access.cache_clear()


def s3_answers(endpoint: str, access_key: str, secret_key: str, buckets: tuple[str, ...]) -> bool:
    """Whether the server is up, accepts the credentials and has the buckets. One quick try."""
    config = Config(retries={"max_attempts": 1}, connect_timeout=1, read_timeout=5)
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
        config=config,
    )
    try:
        present = {entry["Name"] for entry in client.list_buckets()["Buckets"]}
    except (ClientError, BotoCoreError):
        return False
    return present.issuperset(buckets)


def make_bucket(uri: str) -> None:
    """Create the bucket of an ``s3://`` URI; no error when it is there already."""
    store = open_store(uri)
    if isinstance(store, S3Store):
        with _told("create", uri):
            if store.bucket not in {entry["Name"] for entry in _client().list_buckets()["Buckets"]}:
                _client().create_bucket(Bucket=store.bucket)


class S3Store(Store):
    """A bucket, or a prefix of one, through boto3's standard chain of credentials."""

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self.bucket, self.prefix = bucket, prefix
        self.root = f"s3://{bucket}/{prefix}".rstrip("/")

    def __reduce__(self) -> tuple[type[S3Store], tuple[str, str]]:
        return S3Store, (self.bucket, self.prefix)

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    @override
    def get(self, key: str) -> Blob:
        with _told("read", self.uri(key)):
            answer = _client().get_object(Bucket=self.bucket, Key=self._key(key))
            data = answer["Body"].read()
        if len(data) != answer["ContentLength"]:
            raise Throttled("read", self.uri(key), f"{len(data)} of {answer['ContentLength']} bytes arrived")
        return Blob(data=data, token=answer["ETag"])

    @override
    def get_range(self, key: str, start: int, length: int) -> Part:
        asked = f"bytes={start}" if start < 0 else f"bytes={start}-{start + length - 1}"
        with _told("read", self.uri(key)):
            try:
                answer = _client().get_object(Bucket=self.bucket, Key=self._key(key), Range=asked)
            except ClientError as error:
                if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != _NO_SUCH_RANGE:
                    raise
                return Part(data=b"", size_bytes=0)  # An empty object has no range at all.
            data = answer["Body"].read()
        if len(data) != answer["ContentLength"]:
            raise Throttled("read", self.uri(key), f"{len(data)} of {answer['ContentLength']} bytes arrived")
        # A server that knows no ranges sends the whole object, and no Content-Range.
        told = answer.get("ContentRange", "").rpartition("/")[2]
        if told.isdigit():
            return Part(data=data, size_bytes=int(told))
        return Part(data=data[start:] if start < 0 else data[start : start + length], size_bytes=len(data))

    @override
    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_token: str | None = None) -> str:
        with _told("write", self.uri(key)):
            if if_absent:
                answer = _client().put_object(Bucket=self.bucket, Key=self._key(key), Body=data, IfNoneMatch="*")
            elif if_token is not None:
                answer = _client().put_object(Bucket=self.bucket, Key=self._key(key), Body=data, IfMatch=if_token)
            else:
                answer = _client().put_object(Bucket=self.bucket, Key=self._key(key), Body=data)
        return answer["ETag"]

    @override
    def put_file(self, key: str, path: Path) -> None:
        with _told("write", self.uri(key)):
            try:
                _client().upload_file(str(path), self.bucket, self._key(key))
            except S3UploadFailedError as error:
                raise StorageError("write", self.uri(key), str(error)) from error

    @override
    def list(self, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]:
        """As ``Store.list``; only keys that come after ``after`` in the store's order."""
        base = f"{self.prefix}/" if self.prefix else ""
        asked: dict[str, Any] = {"StartAfter": base + after} if after else {}
        pages = _client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=base + prefix, **asked)
        with _told("list", self.uri(prefix)):
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield _listed(entry, base)

    def level(self, folder: str) -> Iterator[ObjectInfo | str]:
        """The objects and the folders directly in a folder; folders as strings that end in a slash.

        Args:
            folder: Empty, or ending in a slash.
        """
        base = f"{self.prefix}/" if self.prefix else ""
        pages = _client().get_paginator("list_objects_v2")
        with _told("list", self.uri(folder)):
            for page in pages.paginate(Bucket=self.bucket, Prefix=base + folder, Delimiter="/"):
                yield from (entry["Prefix"][len(base) :] for entry in page.get("CommonPrefixes", ()))
                yield from (_listed(entry, base) for entry in page.get("Contents", ()))

    @override
    def exists(self, key: str) -> bool:
        try:
            with _told("look at", self.uri(key)):
                _client().head_object(Bucket=self.bucket, Key=self._key(key))
        except ObjectMissing:
            return False
        return True

    @override
    def delete(self, key: str) -> None:
        with _told("delete", self.uri(key)):
            _client().delete_object(Bucket=self.bucket, Key=self._key(key))

    @override
    def under(self, prefix: str) -> S3Store:
        return S3Store(self.bucket, self._key(prefix.strip("/")))

    @override
    def uri(self, key: str = "") -> str:
        return f"{self.root}/{key}" if key else self.root


def _listed(entry: ObjectTypeDef, base: str) -> ObjectInfo:
    return ObjectInfo(
        key=entry["Key"][len(base) :],
        etag=entry["ETag"].strip('"'),
        size_bytes=entry["Size"],
        last_modified=entry["LastModified"].astimezone(UTC),
    )


@contextlib.contextmanager
def _told(operation: str, uri: str) -> Iterator[None]:
    """Turn boto3's errors into ours, so that nobody else has to know its codes."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
        raise _storage_error(operation, uri, code, status, str(error)) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        reason = "no S3 credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role"
        raise AccessDenied(operation, uri, reason) from error
    except BotoCoreError as error:
        raise Throttled(operation, uri, f"{error} (is the endpoint right, and is the server up?)") from error


def _storage_error(operation: str, uri: str, code: str, status: str, text: str) -> StorageError:
    if code == "NoSuchBucket":
        return ObjectMissing(operation, uri, "there is no such bucket; check its name and AWS_ENDPOINT_URL_S3")
    if code in _MISSING or status == "404":
        return ObjectMissing(operation, uri, "there is no such object")
    if code in _CONDITION or status == "412":
        return ConditionFailed(operation, uri, "somebody else wrote it first")
    if code in _DENIED or status in {"401", "403"}:
        return AccessDenied(
            operation, uri, f"the store refused the credentials ({code}); check AWS_* or the role's policy"
        )
    if code in _THROTTLED or status.startswith("5"):
        return Throttled(operation, uri, f"the store is busy or ill ({code or status}); try again later")
    return StorageError(operation, uri, text)


class FolderStore(Store):
    """A folder of the local file system, with the same promises: whole objects, conditional writes."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links that the user chose
        self.root = str(self.path)

    def __reduce__(self) -> tuple[type[FolderStore], tuple[Path]]:
        return FolderStore, (self.path,)

    @override
    def get(self, key: str) -> Blob:
        with _told_by_os("read", self.uri(key)):
            data = (self.path / key).read_bytes()
        return Blob(data=data, token=_token(data))

    @override
    def get_range(self, key: str, start: int, length: int) -> Part:
        path = self.path / key
        with _told_by_os("read", self.uri(key)), path.open("rb") as stream:
            size = path.stat().st_size
            stream.seek(max(0, size + start) if start < 0 else start)
            return Part(data=stream.read(size if start < 0 else length), size_bytes=size)

    @override
    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_token: str | None = None) -> str:
        target = self.path / key
        with _told_by_os("write", self.uri(key)):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _written_aside(target, data) as aside:
                if if_absent:
                    try:
                        os.link(aside, target)  # Fails when the target exists: the one atomic "create only".
                    except FileExistsError as error:
                        raise ConditionFailed("write", self.uri(key), "it exists already") from error
                elif if_token is not None:
                    with _locked(target):
                        if not target.exists() or _token(target.read_bytes()) != if_token:
                            raise ConditionFailed("write", self.uri(key), "somebody else wrote it first")
                        aside.replace(target)
                else:
                    aside.replace(target)
        return _token(data)

    @override
    def put_file(self, key: str, path: Path) -> None:
        target = self.path / key
        with _told_by_os("write", self.uri(key)):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _written_aside(target, b"") as aside:
                shutil.copyfile(path, aside)
                aside.replace(target)

    @override
    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        if not self.path.is_dir():
            raise ObjectMissing("list", self.root, "there is no such folder")
        # Start at the deepest folder that the prefix names, not at the root.
        start = self.path / prefix.rpartition("/")[0]
        with _told_by_os("list", str(start)):
            for path in _walk(start):
                key = path.relative_to(self.path).as_posix()
                if key.startswith(prefix):
                    status = path.stat()
                    yield ObjectInfo(
                        key=key,
                        etag=f"{status.st_mtime_ns:x}-{status.st_size:x}",
                        size_bytes=status.st_size,
                        last_modified=datetime.fromtimestamp(status.st_mtime, UTC),
                    )

    @override
    def exists(self, key: str) -> bool:
        return (self.path / key).is_file()

    @override
    def delete(self, key: str) -> None:
        with _told_by_os("delete", self.uri(key)):
            (self.path / key).unlink(missing_ok=True)

    @override
    def under(self, prefix: str) -> FolderStore:
        return FolderStore(self.path / prefix.strip("/"))

    @override
    def uri(self, key: str = "") -> str:
        return str(self.path / key) if key else self.root


def _walk(folder: Path) -> Iterator[Path]:
    """Files below a folder in the order of S3 keys, without names that start with a dot: our own temporary files."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        found = [(entry.name + "/" * entry.is_dir(), entry.path) for entry in entries if not entry.name.startswith(".")]
    for name, path in sorted(found):
        if name.endswith("/"):
            yield from _walk(Path(path))
        else:
            yield Path(path)


def _token(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


@contextlib.contextmanager
def _written_aside(target: Path, data: bytes) -> Iterator[Path]:
    """A complete temporary file beside the target, gone afterwards unless it was moved."""
    handle, name = tempfile.mkstemp(prefix=f".{target.name[:80]}.", dir=target.parent)
    aside = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        aside.chmod(0o644)  # mkstemp makes files that only their owner can read.
        yield aside
    finally:
        aside.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[None]:
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _told_by_os(operation: str, uri: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ObjectMissing(operation, uri, "there is no such file") from error
    except PermissionError as error:
        raise AccessDenied(operation, uri, "the file system refuses it to this user") from error
    except OSError as error:
        raise StorageError(operation, uri, f"{error.strerror or error} (disk full? read-only?)") from error
