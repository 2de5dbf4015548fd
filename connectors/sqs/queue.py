"""Amazon SQS: messages received, deleted, given back and sent.

Sources of the rules: SQS API reference, "ReceiveMessage" (at most 10, a wait of 20 s), "DeleteMessageBatch" and
"SendMessageBatch" (at most 10, each with its own outcome); developer guide, "Amazon SQS visibility timeout".
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from connectors.aws.calls import patiently
from connectors.aws.client import Aws, client
from connectors.aws.errors import code_of, named
from core.errors import ConfigError, FreshetError, Throttled

AT_ONCE = 10
"""The most messages of one call."""

_NOT_THERE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "InvalidAddress")
_LATER = ("RequestThrottled", "OverLimit", "ThrottlingException")
_SENT = "SentTimestamp"
_SENDERS = 8
_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was received once: `receipt` is of this time alone. `sent_ms` is since 1970, by SQS's clock."""

    id: str
    receipt: str
    body: bytes
    sent_ms: int


class Queue:
    """One queue, by its URL; for several threads. Connects when first asked.

    Methods raise Throttled or Unavailable where the same call may succeed later, and ConfigError where the queue isn't
    there or refuses.
    """

    def __init__(self, url: str, aws: Aws) -> None:
        """Raises ConfigError where no region is known."""
        self.name = url.rstrip("/").rpartition("/")[2]
        self._url = url
        self._what = f"SQS queue {self.name}"
        self._client = client("sqs", aws, "source.sqs")

    def waiting(self) -> int:
        """About how many messages it has to give."""
        name = "ApproximateNumberOfMessages"
        answer = self._ask(lambda: self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=[name]))
        return int(answer["Attributes"][name])

    def receive(self, wait_s: int, hidden_s: int) -> list[Message]:
        """At most ten, as soon as there is one; none after `wait_s`. Nobody else gets them for `hidden_s`."""
        answer = self._ask(
            lambda: self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=AT_ONCE,
                WaitTimeSeconds=wait_s,
                VisibilityTimeout=hidden_s,
                MessageSystemAttributeNames=[_SENT],
            )
        )
        return [
            Message(each["MessageId"], each["ReceiptHandle"], each["Body"].encode(), int(each["Attributes"][_SENT]))
            for each in answer.get("Messages", ())
        ]

    def delete(self, receipts: Sequence[str]) -> None:
        """Delete messages. One whose receipt is too old comes again, and is deleted then."""
        for some in _tens(receipts):
            entries = [{"Id": str(number), "ReceiptHandle": receipt} for number, receipt in enumerate(some)]
            answer = self._ask(
                lambda entries=entries: self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)  # type: ignore[misc]
            )
            for failed in answer.get("Failed", ()):
                _log.warning("%s: a message was not deleted, and comes again: %s", self._what, failed.get("Message"))

    def give_back(self, receipts: Sequence[str]) -> None:
        """Give messages back that were received and not used: others may have them at once."""
        for some in _tens(receipts):
            entries = [
                {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                for number, receipt in enumerate(some)
            ]
            self._ask(
                lambda entries=entries: self._client.change_message_visibility_batch(  # type: ignore[misc]
                    QueueUrl=self._url, Entries=entries
                )
            )

    def send(self, bodies: Sequence[bytes]) -> None:
        """Send messages, in any order; returns once the queue has all. Some are there twice after a lost answer."""
        with ThreadPoolExecutor(_SENDERS, thread_name_prefix="send") as threads:
            for sent in [threads.submit(self._send, some) for some in _tens(bodies)]:
                sent.result()

    def _send(self, bodies: Sequence[bytes]) -> None:
        left = {str(number): body.decode() for number, body in enumerate(bodies)}

        def attempt() -> None:
            nonlocal left
            entries = [{"Id": number, "MessageBody": body} for number, body in left.items()]
            failed = self._client.send_message_batch(QueueUrl=self._url, Entries=entries).get("Failed", ())
            left = {each["Id"]: left[each["Id"]] for each in failed}
            for each in failed:
                if each.get("SenderFault"):
                    raise ConfigError([f"{self._what} refuses a message: {each.get('Code')}: {each.get('Message')}"])
            if left:
                raise Throttled(f"{self._what} doesn't take all messages")

        patiently(lambda: self._ask(attempt), self._what)

    def _ask(self, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except (ClientError, BotoCoreError) as error:
            raise self._meaning(error) from error

    def _meaning(self, error: ClientError | BotoCoreError) -> FreshetError:
        code = code_of(error)
        if code in _NOT_THERE:
            return ConfigError([f"{self._what} isn't there: make it, or correct source.sqs.queue_url or its region"])
        return Throttled(f"{self._what}: {code}") if code in _LATER else named(error, self._what)


def _tens(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    left = iter(entries)
    while some := list(islice(left, AT_ONCE)):
        yield some
