"""Objects in S3 and in what speaks its protocol: read as they are now, and listed.

Sources of the rules: Amazon S3's API reference, "GetObject", "ListObjectsV2" and "Error responses: List of error
codes"; user guide, "Working with delete markers" (a GET of one answers 404).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime
from typing import Any

import botocore.exceptions as failures

from connectors.aws.client import Aws, client
from connectors.patience import Answer, for_seconds, patiently
from core.documents.objects import Fetched, Gone, ObjectListed
from core.errors import ConfigError, ObjectError, Unavailable, brief

_AWAY = (
    failures.ConnectionError, failures.HTTPClientError, failures.IncompleteReadError,
    failures.CredentialRetrievalError,  # a role's come over the network too
)  # fmt: skip
PAGE = 1_000
"""Objects in a page of a listing, at most: S3 gives no more."""

_BUSY_STATUS = (429, 500, 502, 503, 504)
_BUSY = ("SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "InternalError", "ServiceUnavailable")
_GONE = ("NoSuchKey", "NoSuchVersion")
_NOT_US = (
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired",
    "AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException", "RequestTimeTooSkewed",
)  # fmt: skip


class S3:
    """A store of buckets. Connects when first asked; `setting` is the pipeline file's key in messages.

    patience_s  how long to repeat what the store doesn't answer, or answers with "later"
    """

    def __init__(self, setting: str, aws: Aws, patience_s: float = 60.0) -> None:
        """Connects to nothing. Raises ConfigError where no region is known."""
        self._setting = setting
        self._patience_s = patience_s
        self.client = client("s3", aws, setting)

    def fetch(self, bucket: str, key: str, admit: Callable[[int], None]) -> Fetched | Gone:
        """The object as it is now; `admit` gets its size before its content is read. See `Fetcher`.

        Raises ObjectError where this object can't be read, ConfigError where the store refuses whoever asks,
        Unavailable where it is away, and what `admit` raises.
        """

        def get() -> Fetched:
            answer = self.client.get_object(Bucket=bucket, Key=key)
            with closing(answer["Body"]) as body:
                admit(answer["ContentLength"])
                content = body.read()
            modified = answer.get("LastModified")
            return Fetched(
                content=content,
                read_ms=_answered_ms(answer),
                etag=answer.get("ETag", "").strip('"') or None,
                version_id=answer.get("VersionId"),
                content_type=answer.get("ContentType"),
                last_modified_ms=None if modified is None else int(modified.timestamp() * 1000),
            )

        try:
            return self.patiently(get)
        except failures.ClientError as error:
            if _code(error) in _GONE:
                return Gone(_answered_ms(error.response))
            raise ObjectError(_why_not(bucket, key, error)) from error
        except failures.ParamValidationError as error:
            raise ObjectError(f"{key!r} in bucket {bucket!r} can't be asked for: {brief(error)}") from error

    def patiently(self, call: Callable[[], Answer]) -> Answer:
        """What `call` returns, repeated while the store is away or busy. `call` must bear repeating.

        Raises Unavailable and ConfigError as `fetch`, and ClientError for any other refusal.
        """
        try:
            return patiently(call, for_seconds(self._patience_s), _may_pass)
        except (failures.ClientError, failures.BotoCoreError) as error:
            if _may_pass(error):
                raise Unavailable(
                    f"{self._setting}: S3 at {self.client.meta.endpoint_url} doesn't answer ({brief(error)}): "
                    "start it, or correct endpoint and region"
                ) from error
            if isinstance(error, failures.ParamValidationError) or (
                isinstance(error, failures.ClientError) and _code(error) not in _NOT_US
            ):
                raise
            raise ConfigError(
                [
                    f"{self._setting}: S3 at {self.client.meta.endpoint_url} refuses ({brief(error)}): "
                    "correct endpoint and region, and the credentials in the environment, a profile or a role"
                ]
            ) from error

    def page(self, bucket: str, **parameters: Any) -> dict[str, Any]:
        """A page of a listing. Raises ConfigError where the bucket isn't there or may not be listed."""
        try:
            found: dict[str, Any] = self.patiently(
                lambda: self.client.list_objects_v2(Bucket=bucket, MaxKeys=PAGE, **parameters)
            )
        except (failures.ClientError, failures.ParamValidationError) as error:
            raise ConfigError(
                [
                    f"bucket {bucket!r} can't be listed ({brief(error)}): correct its name, "
                    f"or grant s3:ListBucket on arn:aws:s3:::{bucket}"
                ]
            ) from error
        return found

    def objects(self, bucket: str, prefix: str = "", start_after: str = "") -> Iterator[list[ObjectListed]]:
        """The objects under a prefix whose keys come after one, in order of their keys' bytes, a page at a time."""
        parameters = {"Prefix": prefix, "StartAfter": start_after}
        while True:
            page = self.page(bucket, **{name: value for name, value in parameters.items() if value})
            yield listed(page)
            if not page.get("IsTruncated"):
                return
            parameters["ContinuationToken"] = page["NextContinuationToken"]


def listed(page: dict[str, Any]) -> list[ObjectListed]:
    """The objects of a page of a listing."""
    return [
        ObjectListed(
            found["Key"], found["Size"], found["ETag"].strip('"'), int(found["LastModified"].timestamp() * 1000)
        )
        for found in page.get("Contents", ())
    ]


def _answered_ms(answer: dict[str, Any]) -> int:
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        return int(parsedate_to_datetime(date).timestamp() * 1000)
    except (TypeError, ValueError):
        return time.time_ns() // 1_000_000


def _code(error: failures.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, failures.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status in _BUSY_STATUS or _code(error) in _BUSY
    if isinstance(error, failures.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return False
    return isinstance(error, _AWAY)


def _why_not(bucket: str, key: str, error: failures.ClientError) -> str:
    code, what = _code(error), f"{key!r} in bucket {bucket!r}"
    if code in ("AccessDenied", "403", "AllAccessDisabled"):
        return (
            f"{what} may not be read (AccessDenied): grant s3:GetObject on it, kms:Decrypt on its key if it has "
            "one, and s3:ListBucket on the bucket, without which S3 says the same of objects that are gone"
        )
    if code == "NoSuchBucket":
        return f"{what}: there is no such bucket: its documents stand; correct the endpoint, or delete them by table"
    if code == "InvalidObjectState":
        return f"{what} is archived: restore it; the notification of that has it read"
    return f"{what} can't be read: {brief(error)}"
