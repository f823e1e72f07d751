"""A bucket of S3, or of a server that speaks like it, as an object store. boto3 is imported here alone."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from boto3.exceptions import S3UploadFailedError
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from typing_extensions import override

from workers.errors import AccessDenied, ConditionFailed, ObjectMissing, StorageError, Throttled
from workers.storage.protocol import Blob, ObjectInfo, Part, Store
from workers.storage.requests import count_request

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


class S3Store(Store):
    """A bucket, or a prefix of one, through boto3's standard chain of credentials."""

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self.bucket, self.prefix = bucket, prefix
        self.root = f"s3://{bucket}/{prefix}".rstrip("/")

    def __reduce__(self) -> tuple[type[S3Store], tuple[str, str]]:
        return S3Store, (self.bucket, self.prefix)

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def make_bucket(self) -> None:
        """Create the bucket; no error when it is there already."""
        with _told("create", self.uri()):
            if self.bucket not in {entry["Name"] for entry in _client().list_buckets()["Buckets"]}:
                _client().create_bucket(Bucket=self.bucket)

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
