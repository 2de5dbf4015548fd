"""What the refusals of AWS mean: not there, asked too often, away for now, or to be put right.

Sources of the codes: the API references of Kinesis Data Streams, DynamoDB and DynamoDB Streams, "Errors".
"""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError

from core.errors import ConfigError, FreshetError, Throttled, Unavailable
from core.shards.log import ExpiredIterator, NoSuchShard, Trimmed

_TOO_OFTEN = (
    "ProvisionedThroughputExceededException",
    "LimitExceededException",
    "ThrottlingException",
    "RequestLimitExceeded",
    "KMSThrottlingException",
)
_AWAY = ("InternalServerError", "InternalFailureException", "ServiceUnavailable")
_OF_SHARDS: dict[str, type[FreshetError]] = {
    "ExpiredIteratorException": ExpiredIterator,
    "TrimmedDataAccessException": Trimmed,
}
_OF_OURS = ("NoCredentialsError", "PartialCredentialsError", "NoRegionError", "ParamValidationError")


class NotFound(FreshetError):
    """What was asked for isn't there: a table, a stream, a shard of it."""


def code_of(error: ClientError | BotoCoreError) -> str:
    """The service's name for why it refuses; "" where no service answered."""
    return str(error.response["Error"].get("Code", "")) if isinstance(error, ClientError) else ""


def named(error: ClientError | BotoCoreError, what: str) -> NotFound | Unavailable | ConfigError:
    """A failed call as one of ours: NotFound, Throttled, Unavailable, or ConfigError for any other refusal.

    `what` is what was asked, as in "Kinesis stream orders".
    """
    if not isinstance(error, ClientError):
        return _without_answer(error, what)
    code, message = code_of(error), error.response["Error"].get("Message", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
    if code in _TOO_OFTEN:
        return Throttled(f"{what}: {code}")
    if code == "ResourceNotFoundException":
        return NotFound(f"{what}: {message}")
    if status >= 500 or code in _AWAY:
        return Unavailable(f"{what}: {code} ({status})")
    return ConfigError([f"{what}: {code}: {message}"])


def _without_answer(error: BotoCoreError, what: str) -> Unavailable | ConfigError:
    if type(error).__name__ in _OF_OURS:
        return ConfigError([f"{what}: {error}"])
    return Unavailable(f"{what} doesn't answer: {error}")


def stream_error(error: ClientError | BotoCoreError, what: str) -> FreshetError:
    """As `named`, of a call about a whole stream: a ConfigError where it isn't there."""
    found = named(error, what)
    if isinstance(found, NotFound):
        return ConfigError([f"{what} isn't there: make it, or correct its name or region"])
    return found


def shard_error(error: ClientError | BotoCoreError, what: str) -> FreshetError:
    """As `named`, of a call about a shard: what `core.shards.log.ShardStream` raises."""
    code = code_of(error)
    if code in _OF_SHARDS:
        return _OF_SHARDS[code](f"{what}: {code}")
    found = named(error, what)
    return NoSuchShard(str(found)) if isinstance(found, NotFound) else found
