"""Objects in a real server (moto's), and its failures: what is read, what is gone, what can't be read and why."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from connectors.aws.client import Aws, client
from connectors.s3 import objects as s3
from connectors.s3.listing import listing
from connectors.s3.objects import S3
from core.change import Event
from core.documents.objects import Fetched, Gone, ObjectChange
from core.errors import ConfigError, ObjectError, Unavailable
from core.formats.s3 import decode
from tests.aws import moto_server

REGION = "eu-central-1"
KEYS = ["../up", "a/../b", "a%2Fb", "a+b c&d=e?f#g", "😀/é.md", "//", "a//b", "./x", " ", "~!*'()", "a\\b", "x" * 1024]


@pytest.fixture(scope="module")
def server() -> Iterator[Aws]:
    with moto_server() as aws:
        yield aws


@pytest.fixture
def store(server: Aws) -> S3:
    return S3("source.s3", server, patience_s=2)


@pytest.fixture
def bucket(store: S3) -> str:
    name = f"docs-{uuid4().hex[:12]}"
    store.client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return name


def any_size(size: int) -> None:
    assert size >= 0


def versioned(store: S3, bucket: str) -> None:
    store.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def test_an_object_with_all_that_is_known_of_it(store: S3, bucket: str) -> None:
    put = store.client.put_object(Bucket=bucket, Key="a.md", Body=b"# Hi", ContentType="text/markdown")
    sizes: list[int] = []
    found = store.fetch(bucket, "a.md", sizes.append)
    assert isinstance(found, Fetched)
    assert (found.content, found.content_type, sizes) == (b"# Hi", "text/markdown", [4])
    assert f'"{found.etag}"' == put["ETag"]
    assert found.version_id is None
    assert found.last_modified_ms is not None
    assert abs(found.read_ms - found.last_modified_ms) < 60_000


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_the_object_that_was_put(store: S3, bucket: str, key: str) -> None:
    store.client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    found = store.fetch(bucket, key, any_size)
    assert isinstance(found, Fetched)
    assert found.content == key.encode()
    assert [listed.key for listed in listing(store, bucket)] == [key]


@pytest.mark.parametrize("key", [key for key in KEYS if len(key) < 100])
def test_the_keys_of_motos_own_notifications_come_through(server: Aws, store: S3, bucket: str, key: str) -> None:
    queues = client("sqs", server, "queue")
    queue = queues.create_queue(QueueName=bucket)["QueueUrl"]
    arn = f"arn:aws:sqs:eu-central-1:123456789012:{bucket}"
    store.client.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]},
    )
    store.client.put_object(Bucket=bucket, Key=key, Body=b"x")
    found: list[Any] = []
    while message := queues.receive_message(QueueUrl=queue).get("Messages"):
        found += decode(Event("q", 0, 0, None, message[0]["Body"].encode()))
        queues.delete_message(QueueUrl=queue, ReceiptHandle=message[0]["ReceiptHandle"])
    assert [each.key for each in found if isinstance(each, ObjectChange)] == [key]


def test_an_object_that_is_not_there_is_gone(store: S3, bucket: str) -> None:
    found = store.fetch(bucket, "nothing", any_size)
    assert isinstance(found, Gone)
    assert found.read_ms > 1_700_000_000_000


def test_the_latest_version_counts_and_an_old_ones_deletion_does_not(store: S3, bucket: str) -> None:
    versioned(store, bucket)
    first = store.client.put_object(Bucket=bucket, Key="a", Body=b"one")["VersionId"]
    second = store.client.put_object(Bucket=bucket, Key="a", Body=b"two")["VersionId"]
    store.client.delete_object(Bucket=bucket, Key="a", VersionId=first)
    found = store.fetch(bucket, "a", any_size)
    assert isinstance(found, Fetched)
    assert (found.content, found.version_id) == (b"two", second)
    marker = store.client.delete_object(Bucket=bucket, Key="a")["VersionId"]
    assert isinstance(store.fetch(bucket, "a", any_size), Gone)
    store.client.delete_object(Bucket=bucket, Key="a", VersionId=marker)
    assert isinstance(store.fetch(bucket, "a", any_size), Fetched)


def test_no_such_bucket_is_no_deletion(store: S3) -> None:
    with pytest.raises(ObjectError, match="no such bucket: its documents stand"):
        store.fetch("nowhere", "a", any_size)
    with pytest.raises(ConfigError, match="'nowhere' can't be listed"):
        list(listing(store, "nowhere"))


def test_a_bucket_of_an_impossible_name_is_refused(store: S3) -> None:
    with pytest.raises(ObjectError, match="can't be asked for"):
        store.fetch("no/bucket at all", "a", any_size)


def test_an_archived_object_says_what_to_do(store: S3, bucket: str) -> None:
    store.client.put_object(Bucket=bucket, Key="a", Body=b"cold", StorageClass="GLACIER")
    with pytest.raises(ObjectError, match="is archived: restore it"):
        store.fetch(bucket, "a", any_size)


@pytest.fixture
def enforce(server: Aws) -> Iterator[Callable[[], None]]:
    """Has moto look at policies from now on, and no longer at the end."""

    def set_free_actions(count: str) -> None:
        assert httpx.post(f"{server.endpoint}/moto-api/reset-auth", content=count).is_success

    yield lambda: set_free_actions("0")
    set_free_actions("inf")


def test_who_may_not_read_learns_what_to_grant(
    server: Aws, store: S3, bucket: str, enforce: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    iam = client("iam", server, "iam")
    iam.create_user(UserName="freshet")
    key = iam.create_access_key(UserName="freshet")["AccessKey"]
    policy = {"Version": "2012-10-17", "Statement": [_allows("s3:GetObject", f"arn:aws:s3:::{bucket}/open/*")]}
    iam.put_user_policy(UserName="freshet", PolicyName="p", PolicyDocument=json.dumps(policy))
    for name in ("open/a", "closed/a"):
        store.client.put_object(Bucket=bucket, Key=name, Body=b"text")
    enforce()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    reader = S3("source.s3", server)
    assert isinstance(reader.fetch(bucket, "open/a", any_size), Fetched)
    with pytest.raises(ObjectError, match=r"'closed/a' in bucket .* may not be read .*grant s3:GetObject"):
        reader.fetch(bucket, "closed/a", any_size)
    with pytest.raises(ConfigError, match=f"grant s3:ListBucket on arn:aws:s3:::{bucket}"):
        list(listing(reader, bucket))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN")
    with pytest.raises(ConfigError, match=r"source\.s3: S3 at .* refuses .*credentials") as refused:
        S3("source.s3", server).fetch(bucket, "open/a", any_size)
    assert key["SecretAccessKey"] not in str(refused.value)


def _allows(action: str, resource: str) -> dict[str, str]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


@pytest.fixture
def some_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


@pytest.mark.usefixtures("some_credentials")
def test_a_server_that_is_away_is_named() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(Unavailable, match=rf"source\.s3: S3 at {address} doesn't answer"):
        S3("source.s3", Aws(REGION, address), patience_s=0.5).fetch("docs", "a", any_size)


Reply = Callable[[http.server.BaseHTTPRequestHandler, int], None]


@contextmanager
def answering(reply: Reply) -> Iterator[tuple[str, list[str]]]:
    """A server that gives each request to `reply`, with how many came before; and the paths asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            reply(self, len(asked) - 1)

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes, length: int | None = None) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)
    if length is not None:
        handler.wfile.flush()
        handler.close_connection = True


@pytest.mark.usefixtures("some_credentials")
def test_an_object_of_two_gigabytes_is_refused_before_it_is_read() -> None:
    def refuse(size: int) -> None:
        raise ObjectError(f"{size} bytes")

    with answering(lambda handler, before: send(handler, 200, b"x" * 1000, length=2 * 2**30)) as (address, asked):
        with pytest.raises(ObjectError, match="2147483648 bytes"):
            S3("source.s3", Aws(REGION, address)).fetch("docs", "large", refuse)
        assert asked == ["/docs/large"]


@pytest.mark.usefixtures("some_credentials")
def test_what_passes_is_asked_again() -> None:
    busy = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"

    def reply(handler: http.server.BaseHTTPRequestHandler, before: int) -> None:
        if before == 0:
            send(handler, 503, busy)
        elif before == 1:
            send(handler, 200, b"half", length=8)  # and the connection ends
        else:
            send(handler, 200, b"half the")

    with answering(reply) as (address, asked):
        found = S3("source.s3", Aws(REGION, address), patience_s=20).fetch("docs", "a", any_size)
        assert isinstance(found, Fetched)
        assert (found.content, len(asked)) == (b"half the", 3)
    with answering(lambda handler, before: send(handler, 503, busy)) as (address, _):
        away = S3("source.s3", Aws(REGION, address), patience_s=0.5)
        with pytest.raises(Unavailable, match="SlowDown"):
            away.fetch("docs", "a", any_size)


def test_a_listing_is_in_order_whole_and_can_go_on_anywhere(
    store: S3, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "PAGE", 5)
    keys = sorted(f"{a}{b}{c}" for a in ("in/", "in!", "in0") for b in ("x/", "x", "z/q/") for c in ("1", "2.txt", "é"))
    keys += [f"in/zz/{number:04}" for number in range(40)]
    keys.sort()
    for key in keys:
        store.client.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert [found.key for found in listing(store, bucket)] == keys
    under = [key for key in keys if key.startswith("in/")]
    assert [found.key for found in listing(store, bucket, "in/", threads=2)] == under
    for after in (*keys[2:27:6], "in/x/", "zzz", keys[-1], "in/zz/0031"):
        assert [found.key for found in listing(store, bucket, start_after=after)] == [
            key for key in keys if key > after
        ]
    stopped = listing(store, bucket)
    assert next(stopped).key == keys[0]
    stopped.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("list")]
