"""Items of tables on moto's server: typed as events have them, found by keys so and as text, with least rights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest

from connectors.aws.client import Aws, client
from connectors.dynamodb.rows import Tables
from core.change import Change, Event
from core.documents.step import DocumentSpec
from core.errors import ConfigError
from core.formats.dynamodb.decoding import decode

COLUMNS = ("at", "id", "body")
ID = {"AttributeName": "id", "AttributeType": "S"}


@pytest.fixture(scope="module")
def dynamodb(aws: Aws) -> Any:
    return client("dynamodb", aws, "test")


def table(dynamodb: Any, partition: str = "S", sort: str = "N") -> str:
    """A table whose partition key `id` comes after its sort key `at` by name."""
    name = f"t{uuid4().hex[:8]}"
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "id", "AttributeType": partition},
            {"AttributeName": "at", "AttributeType": sort},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    return name


def test_an_item_is_read_as_its_event_has_it(aws: Aws, dynamodb: Any) -> None:
    name = table(dynamodb)
    typed: dict[str, Any] = {
        "id": {"S": "x"},
        "at": {"N": "1.5"},
        "raw": {"B": b"\x00\xff"},
        "raws": {"BS": [b"b", b"a"]},
        "deep": {"L": [{"M": {"n": {"N": "12345678901234567890"}, "none": {"NULL": True}}}]},
        "tags": {"SS": ["b", "a"]},
        "flag": {"BOOL": False},
    }
    dynamodb.put_item(TableName=name, Item=typed)
    tables = Tables(aws)
    raw = tables.raw_row(name, {"id": "x", "at": 1.5})
    assert raw is not None
    value = (
        b'{"eventName":"INSERT","tableName":"%s","dynamodb":{"SequenceNumber":"1","Keys":{"id":{"S":"x"},"at":'
        b'{"N":"1.5"}},"NewImage":{"id":{"S":"x"},"at":{"N":"1.5"},"raw":{"B":"AP8="},"raws":{"BS":["Yg==","YQ=="]},'
        b'"deep":{"L":[{"M":{"n":{"N":"12345678901234567890"},"none":{"NULL":true}}}]},"tags":{"SS":["b","a"]},'
        b'"flag":{"BOOL":false}}}}' % name.encode()
    )
    (change,) = decode(Event("topic", 0, 0, None, value, {}))
    assert isinstance(change, Change)
    assert tables.as_in_events(name, raw) == change.row
    assert tables.key(name) == tuple(change.key) == ("at", "id")
    (page,) = tables.pages(name, ("at", "id", "raw"), 10)
    assert page == [{"id": {"S": "x"}, "at": {"N": "1.5"}, "raw": {"B": "AP8="}}]


@pytest.mark.parametrize(
    ("kinds", "typed", "plain"),
    [
        (("S", "N"), ({"S": "5"}, {"N": "7"}), ("5", 7)),
        (("S", "N"), ({"S": "5"}, {"N": "-0.25"}), ("5", -0.25)),
        (("N", "S"), ({"N": "12345678901234567890"}, {"S": "a/b %"}), ("12345678901234567890", "a/b %")),
        (("B", "S"), ({"B": b"\x00\xff"}, {"S": "x"}), ("AP8=", "x")),
    ],
)
def test_an_item_is_found_by_its_key_as_events_have_it_and_as_text(
    aws: Aws, dynamodb: Any, kinds: tuple[str, str], typed: tuple[Any, Any], plain: tuple[Any, Any]
) -> None:
    name = table(dynamodb, *kinds)
    dynamodb.put_item(TableName=name, Item={"id": typed[0], "at": typed[1], "body": {"S": "text"}})
    tables = Tables(aws)
    for key in ({"id": plain[0], "at": plain[1]}, {"at": str(plain[1]), "id": str(plain[0]), "more": "1"}):
        raw = tables.raw_row(name, key)
        assert raw is not None
        assert tables.as_in_events(name, raw) == {"id": plain[0], "at": plain[1], "body": "text"}
    assert tables.raw_row(name, {"id": plain[0], "at": "8"}) is None


def test_a_key_that_no_item_may_have_finds_none(aws: Aws, dynamodb: Any) -> None:
    name, binary = table(dynamodb), table(dynamodb, "B")
    tables = Tables(aws)
    assert tables.raw_row(name, {"id": "x", "at": "seven"}) is None
    assert tables.raw_row(name, {"id": "x", "at": "NaN"}) is None
    assert tables.raw_row(name, {"id": "", "at": "7"}) is None
    assert tables.raw_row(binary, {"id": "no base64", "at": "7"}) is None


def test_every_page_is_read_in_bounded_pieces(aws: Aws, dynamodb: Any) -> None:
    name = table(dynamodb)
    for number in range(23):
        dynamodb.put_item(
            TableName=name,
            Item={"id": {"S": "x"}, "at": {"N": str(number)}, **({"body": {"S": "b"}} if number else {})},
        )
    with Tables(aws).snapshot() as state:
        assert state.count(name) == 23
        pages = list(state.rows(name, COLUMNS, 10))
    assert [len(page) for page in pages] == [10, 10, 3]
    assert {each["at"]["N"] for page in pages for each in page} == {str(number) for number in range(23)}
    assert sum("body" in each for page in pages for each in page) == 22


def test_columns_are_all_that_a_document_may_use(aws: Aws, dynamodb: Any) -> None:
    name = table(dynamodb)
    spec = DocumentSpec(name, "{new|old}\n{extra|}", ("lang|language", "size"), ("id", "at"))
    assert Tables(aws).columns(spec) == ("at", "id", "new", "old", "extra", "lang", "language", "size")
    with pytest.raises(ConfigError, match="key lacks at of the table's key"):
        Tables(aws).columns(DocumentSpec(name, "{body}", (), ("id", "body")))


def test_what_cannot_be_read_is_named(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"reselect\.dynamodb: DynamoDB at http.* has no table nothing"):
        Tables(aws).key("nothing")
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(ConfigError, match=r"reselect\.dynamodb: .*set region"):
        Tables(Aws())


@contextmanager
def answering(*errors: str) -> Iterator[Aws]:
    """A server that refuses as many requests by these codes, then describes any table."""
    rest = list(errors)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            code = rest.pop(0) if rest else ""
            table = {"KeySchema": [{"AttributeName": "id"}], "AttributeDefinitions": [ID], "ItemCount": 7}
            body = json.dumps({"__type": f"x#{code}", "message": "not allowed"} if code else {"Table": table}).encode()
            self.send_response(400 if code else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield Aws("eu-central-1", f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()


@pytest.mark.usefixtures("aws")  # for credentials
def test_throttling_is_borne() -> None:
    with answering("ThrottlingException", "ProvisionedThroughputExceededException") as throttled:
        assert Tables(throttled).table("any").items == 7


@pytest.mark.usefixtures("aws")
def test_a_missing_right_is_named_at_once() -> None:
    with answering("AccessDeniedException") as server, pytest.raises(ConfigError) as raised:
        Tables(server).key("any")
    assert "reselect.dynamodb: DynamoDB table any at http" in str(raised.value)
    assert "AccessDeniedException: not allowed" in str(raised.value)
