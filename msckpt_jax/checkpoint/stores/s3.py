"""Amazon's S3 and the servers that speak its protocol, by boto3.

Credentials, region and endpoint are those that boto3 finds: the environment (``AWS_ENDPOINT_URL``),
``~/.aws``, or the machine's role.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

from msckpt_jax.checkpoint.stores.store import REPLACED, Item, Stream
from msckpt_jax.checkpoint.stores.telling import telling
from msckpt_jax.errors import CheckpointError

#: Connections of a process, requests of all threads together.
CONNECTIONS = 32
#: The times that a request is made before its error is raised, with pauses that double in between.
ATTEMPTS = 8
#: The codes of an object that is not there.
_MISSING = {"404", "NoSuchKey", "NotFound"}
#: Those of an object that is another one than was asked for.
_REPLACED = {"412", "PreconditionFailed"}


def store(scheme: str) -> S3:
    """The store of ``s3://``."""
    config = Config(
        max_pool_connections=CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=10,
        read_timeout=60,
    )
    return S3(boto3.Session().client("s3", config=config))


@telling
class S3:
    """The buckets that a client of boto3 reaches."""

    takes_parts = True

    def __init__(self, client: Any):
        self.client = client
        self.live: set[str] = set()  # the ids of uploads that this process has begun

    def path_of(self, key: str, *_: Any) -> str:
        return f"s3://{key}"

    def size(self, key: str) -> int | None:
        about = self._about(key)
        return None if about is None else about["ContentLength"]

    def tag(self, key: str) -> str | None:
        about = self._about(key)
        return None if about is None else f"{about['ETag']} {about['LastModified']}"

    def about(self, key: str) -> tuple[int, str, float] | None:
        about = self._about(key)
        if about is None:
            return None
        return about["ContentLength"], about["ETag"], about["LastModified"].timestamp()

    def _about(self, key: str) -> Any:
        try:
            return self.client.head_object(**_place(key))
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return None
            raise

    def read(self, key: str, start: int, stop: int, tag: str | None = None) -> bytes:
        wanted = {"Range": f"bytes={start}-{stop - 1}"} | ({} if tag is None else {"IfMatch": tag})
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = self.client.get_object(**_place(key), **wanted)
                return answer["Body"].read()
            except (HTTPClientError, IncompleteReadError):  # the body breaks off: nobody retries
                if attempt == ATTEMPTS:
                    raise
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code == "InvalidRange":
                    return b""
                if code in _REPLACED:
                    raise CheckpointError(REPLACED, file=f"s3://{key}") from None
                if code in _MISSING:
                    raise FileNotFoundError(2, "there is no such object", f"s3://{key}") from None
                raise
            time.sleep(random.uniform(0, min(20.0, 2.0**attempt / 4)))
        raise AssertionError

    def put(self, key: str, data: bytes | bytearray) -> None:
        self.client.put_object(**_place(key), Body=data)

    def delete(self, key: str) -> None:
        self.client.delete_object(**_place(key))

    def items(self, key: str) -> Iterator[Item]:
        bucket, prefix = _folder(key)
        pages = self.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=prefix, Delimiter="/"):
            for below in page.get("CommonPrefixes", ()):
                yield Item(below["Prefix"][len(prefix) : -1], is_folder=True)
            for found in page.get("Contents", ()):
                if found["Key"] != prefix:  # a marker that stands for a folder
                    yield Item(found["Key"][len(prefix) :], is_folder=False)

    def has_items(self, key: str) -> bool:
        bucket, prefix = _folder(key)
        answer = self.client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
        return bool(answer.get("KeyCount", len(answer.get("Contents", ()))))

    def upload(self, key: str) -> S3Upload:
        with contextlib.suppress(ClientError):  # who may write may not list: then they stay
            self._give_up_others(key)
        id = self.client.create_multipart_upload(**_place(key))["UploadId"]
        self.live.add(id)
        return S3Upload(self, key, id)

    def resumed(self, key: str, id: str) -> S3Upload:
        return S3Upload(self, key, id)

    def stream(self, key: str) -> Stream:
        raise NotImplementedError("s3:// takes parts")

    def _give_up_others(self, key: str) -> None:
        """Abort the uploads of this key that killed saves have left."""
        bucket, name = _place(key).values()
        pages = self.client.get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=bucket, Prefix=name):
            for left in page.get("Uploads", ()):
                if left["Key"] == name and left["UploadId"] not in self.live:
                    S3Upload(self, key, left["UploadId"]).abort()


@telling
class S3Upload:
    """A multipart upload of S3."""

    def __init__(self, store: S3, key: str, id: str):
        self._store, self._key, self.id = store, key, id

    def path_of(self, *_: Any) -> str:
        return f"s3://{self._key}"

    def put(self, number: int, data: bytearray | bytes) -> str:
        answer = self._store.client.upload_part(
            **_place(self._key), UploadId=self.id, PartNumber=number, Body=data
        )
        return answer["ETag"]

    def complete(self, tags: Sequence[str]) -> None:
        parts = [{"PartNumber": k, "ETag": tag} for k, tag in enumerate(tags, 1)]
        self._store.client.complete_multipart_upload(
            **_place(self._key), UploadId=self.id, MultipartUpload={"Parts": parts}
        )
        self._store.live.discard(self.id)

    def abort(self) -> None:
        with contextlib.suppress(ClientError):  # it is gone
            self._store.client.abort_multipart_upload(**_place(self._key), UploadId=self.id)
        self._store.live.discard(self.id)


def _place(key: str) -> dict[str, str]:
    bucket, _, name = key.partition("/")
    return {"Bucket": bucket, "Key": name}


def _folder(key: str) -> tuple[str, str]:
    """The bucket, and the beginning of all keys below a key."""
    bucket, _, name = key.partition("/")
    return bucket, f"{name}/" if name else ""
