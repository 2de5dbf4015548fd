"""Dead letters in a bucket, an object each, whose keys have the time at which they were written.

Sources of the rules: Amazon S3 API reference, "PutObject" (there when it is answered), "HeadBucket" (404 where there is
none, 403 also where it may not be asked) and "ListObjectsV2" (keys in the order of their bytes).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b

from botocore.exceptions import ClientError

from connectors.aws.client import Aws
from connectors.aws.letters import packed, unpacked
from connectors.s3.objects import S3
from core.documents.objects import Gone
from core.errors import ConfigError, ObjectError, brief
from core.letters import NOWHERE, Letter, Message

ROOM = 32 * 1024 * 1024
"""Bytes that a letter has at most: S3 would take more, and a job's memory is for other things."""

_KIND = ".msgpack"
_AT_ONCE = 16
_LAST = "last"
_FOLDERS = (4, 2, 2)  # digits of a year, a month and a day
_PLACE = re.compile(r"\d{4}/\d\d/\d\d/\d{6}\.\d{6}-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class LettersBucket:
    """The bucket of dead letters, below a prefix: `connectors.opening.dead_letters.LettersPlace`."""

    bucket: str
    prefix: str
    aws: Aws

    @property
    def name(self) -> str:
        """See `LettersPlace`."""
        return f"s3://{self.bucket}/{self.prefix}"

    @property
    def setting(self) -> str:
        """See `LettersPlace`."""
        return "dead_letters.s3.aws.endpoint"

    @property
    def servers(self) -> tuple[str, ...]:
        """See `LettersPlace`."""
        return (self.aws.endpoint,) if self.aws.endpoint else ()

    def look(self) -> bool:
        """See `LettersPlace.look`. Raises ConfigError where it isn't there: nobody makes it."""
        store = _opened(self.aws)
        try:
            store.patiently(lambda: store.client.head_bucket(Bucket=self.bucket))
        except ClientError as error:
            # a 403 says nothing of whether letters may be put there, which is all that a job needs
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                missing = f"dead_letters.s3.bucket is {self.bucket}, which isn't there: make it, or correct its name"
                raise ConfigError([missing]) from None
        return True

    def room(self, make: bool = True) -> int:
        """See `LettersPlace.room`: ROOM. The bucket must be there, made or not."""
        self.look()
        return ROOM

    def usual_room(self) -> int:
        """See `LettersPlace.usual_room`."""
        return ROOM

    def sink(self, table: str) -> ToBucket:
        """See `LettersPlace.sink`: a writer."""
        return ToBucket(self.bucket, self.prefix, self.aws)

    def letters(self) -> AbstractContextManager[BucketOfLetters]:
        """See `LettersPlace.letters`."""
        return nullcontext(BucketOfLetters(_opened(self.aws), self.bucket, self.prefix))


def _opened(aws: Aws) -> S3:
    return S3("dead_letters.s3", aws)


@dataclass(slots=True)
class ToBucket:
    """Writes letters into the bucket: `connectors.opening.dead_letters.LettersWriter`."""

    bucket: str
    prefix: str
    aws: Aws
    _store: S3 | None = None

    def write(self, letter: Message) -> None:
        """See `LettersWriter.write`: a minute's patience."""
        store = self._store = self._store or _opened(self.aws)
        content = packed(letter)
        now, digest = datetime.now(UTC), blake2b(content, digest_size=8).hexdigest()
        key = f"{self.prefix}{now:%Y/%m/%d/%H%M%S.%f}-{digest}{_KIND}"
        try:
            store.patiently(lambda: store.client.put_object(Bucket=self.bucket, Key=key, Body=content))
        except ClientError as error:
            why = f"dead letters can't be written to s3://{self.bucket}/{self.prefix} ({brief(error)})"
            raise ConfigError([f"{why}: grant s3:PutObject there, and kms:GenerateDataKey on its key"]) from None

    def close(self) -> None:
        """See `LettersWriter.close`."""
        if self._store is not None:
            self._store.client.close()
            self._store = None


@dataclass(frozen=True)
class BucketOfLetters:
    """The dead letters below a prefix, up to the last one there was when it was first asked.

    As `core.letters.Letters`; a letter's place is its key between prefix and ending. What else lies there is no letter.
    """

    store: S3
    bucket: str
    prefix: str

    @cached_property
    def ends(self) -> Mapping[str, str]:
        """See `Letters.ends`: the last place, found by the newest year, month and day."""
        last = self._last(self.prefix, _FOLDERS)
        return {_LAST: last} if last else NOWHERE

    def _last(self, folder: str, digits: tuple[int, ...]) -> str:
        """The last place below a folder, "" where there is none: in its newest folders of so many digits first."""
        if not digits:
            return max((place for place, _ in self._placed(folder, "")), default="")
        named = [each for each in self._folders(folder) if each.isdecimal() and len(each) == digits[0]]
        found = (self._last(f"{folder}{name}/", digits[1:]) for name in sorted(named, reverse=True))
        return next(filter(None, found), "")

    def read(self, since: Mapping[str, str] = NOWHERE) -> Iterator[Letter]:
        """See `Letters.read`: by their keys, so by when they were written, by the clocks of who wrote them."""
        if _LAST not in self.ends:
            return
        after = f"{self.prefix}{since[_LAST]}{_KIND}" if _LAST in since else ""
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="letters") as threads:
            ahead: deque[Future[Letter | None]] = deque()
            for place, time_ms in self._placed(self.prefix, after):
                if place > self.ends[_LAST]:
                    break
                ahead.append(threads.submit(self._letter, place, time_ms))
                if len(ahead) >= _AT_ONCE:
                    yield from filter(None, [ahead.popleft().result()])
            for each in ahead:
                yield from filter(None, [each.result()])

    def at(self, place: str) -> Letter | None:
        """See `Letters.at`."""
        if not _PLACE.fullmatch(place):
            raise ConfigError([f"{place!r} names no dead letter: write its key, as `list` does"])
        return self._letter(place, None)

    def _letter(self, place: str, time_ms: int | None) -> Letter | None:
        try:
            found = self.store.fetch(self.bucket, f"{self.prefix}{place}{_KIND}", _admit)
        except ObjectError as error:
            raise ConfigError([f"dead letter {place}: {error}"]) from None
        if isinstance(found, Gone):
            return None
        return unpacked(place, found.last_modified_ms or 0 if time_ms is None else time_ms, found.content)

    def _placed(self, folder: str, after: str) -> Iterator[tuple[str, int]]:
        """Places of letters below a folder, in order, and when each came there; of a size that a letter may have."""
        for page in self.store.objects(self.bucket, folder, after):
            for each in page:
                place = each.key.removeprefix(self.prefix).removesuffix(_KIND)
                if each.key.endswith(_KIND) and _PLACE.fullmatch(place) and each.size <= ROOM:
                    yield place, each.last_modified_ms or 0

    def _folders(self, folder: str) -> Iterator[str]:
        asked = {"Prefix": folder, "Delimiter": "/"}
        while True:
            page = self.store.page(self.bucket, **asked)
            yield from (each["Prefix"].removeprefix(folder).rstrip("/") for each in page.get("CommonPrefixes", ()))
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]


def _admit(size: int) -> None:
    if size > ROOM:
        raise ObjectError(f"it has {size:,} bytes, more than a letter may have: it is none of Freshet's")
