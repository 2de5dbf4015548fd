"""A server that plays AWS in a chaos run: moto's, with shards that are really split and merged, and with refusals.

`python -m chaos.aws_server PORT` serves Kinesis and DynamoDB Streams from `chaos.shards`, all else from moto.
What is POSTed to /chaos/reshard, /chaos/refuse and /chaos/expire is done to it.

Sources of the rules: the API references of Kinesis Data Streams and DynamoDB (Streams), "Common errors" of both, Amazon
S3's "Error responses".
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC
from random import Random
from typing import Any

from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.models.utilities import dynamo_json_dump
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple
from werkzeug.wrappers import Request, Response

from chaos.shards import JsonObject, Shard, Stream
from stack.aws_server import copy_tables_lightly

_ACCOUNT, _REGION = "123456789012", "eu-central-1"
_FIRST = 49590338271490256608559692538361571095921575989136588898
_PAGE = 3
_EMPTY_SHARE = 0.1
_JSON = "application/x-amz-json-1.1"
_BUSY = (
    ("ProvisionedThroughputExceededException", 400),
    ("ThrottlingException", 400),
    ("InternalFailure", 500),
    ("ServiceUnavailable", 503),
)

Respond = Callable[..., Any]
Answer = Callable[[dict[str, Any], Respond], Iterable[bytes]]


class Refused(Exception):
    """What a client gets instead of an answer: a code of the service's and why."""


class Streams:
    """Streams by the name that clients know them by, one call at a time."""

    def __init__(self) -> None:
        self.all: dict[str, Stream] = {}
        self._made_s: dict[str, float] = {}
        self.epoch = 0
        self.refuses: Callable[[], bool] = lambda: False
        self._numbers = _FIRST
        self._choices = Random(1)

    def kinesis(self, action: str, asked: dict[str, Any]) -> JsonObject:
        """An action of Kinesis'."""
        if action == "GetRecords":
            return self._records(asked)
        if action == "CreateStream":
            self.all[asked["StreamName"]] = Stream(asked["ShardCount"], lambda n: f"shardId-{n:012d}")
            self._made_s[asked["StreamName"]] = time.time()
            return {}
        name = asked.get("StreamName") or asked.get("NextToken", "").rpartition(":")[0]
        stream = self._stream(name)
        match action:
            case "DescribeStreamSummary":
                summary = {"StreamName": name, "StreamStatus": "ACTIVE", "RetentionPeriodHours": 24}
                summary |= {"StreamARN": f"arn:aws:kinesis:{_REGION}:{_ACCOUNT}:stream/{name}"}
                summary |= {"StreamCreationTimestamp": self._made_s[name]}
                return {"StreamDescriptionSummary": {**summary, "OpenShardCount": len(stream.open())}}
            case "ListShards":
                begin = int(asked.get("NextToken", ":0").rpartition(":")[2])
                shards = list(stream.shards.values())
                more = {"NextToken": f"{name}:{begin + _PAGE}"} if begin + _PAGE < len(shards) else {}
                return {"Shards": [_listed(shard) for shard in shards[begin : begin + _PAGE]], **more}
            case "GetShardIterator":
                return self._iterator(name, asked, int(asked.get("StartingSequenceNumber", 0)))
            case "PutRecords":
                put = [self._put(stream, record) for record in asked["Records"]]
                return {"FailedRecordCount": sum("ErrorCode" in each for each in put), "Records": put}
        raise Refused("UnknownOperationException", f"{action} isn't played here")

    def _put(self, stream: Stream, record: dict[str, str]) -> JsonObject:
        if self.refuses():
            return {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "so it was decided"}
        self._numbers += self._choices.randrange(1, 10**12)
        kept = {
            "SequenceNumber": str(self._numbers),
            "ApproximateArrivalTimestamp": round(time.time(), 3),
            "Data": record["Data"],
            "PartitionKey": record["PartitionKey"],
        }
        shard = stream.put(record["PartitionKey"], self._numbers, kept)
        return {"SequenceNumber": kept["SequenceNumber"], "ShardId": shard.id}

    def dynamodb(self, action: str, asked: dict[str, Any]) -> JsonObject:
        """An action of DynamoDB Streams'."""
        if action == "GetRecords":
            return self._records(asked)
        arn = asked["StreamArn"]
        name = arn.split("/")[1]
        stream = self._stream(name)
        if action == "GetShardIterator":
            return self._iterator(name, asked, int(asked.get("SequenceNumber", 0)))
        if action != "DescribeStream":
            raise Refused("UnknownOperationException", f"{action} isn't played here")
        shards = list(stream.shards.values())
        begin = next((n + 1 for n, each in enumerate(shards) if each.id == asked.get("ExclusiveStartShardId")), 0)
        page = shards[begin : begin + _PAGE]
        more = {"LastEvaluatedShardId": page[-1].id} if begin + _PAGE < len(shards) else {}
        description = {"StreamArn": arn, "StreamStatus": "ENABLED", "TableName": name}
        return {"StreamDescription": {**description, "Shards": [_listed(shard) for shard in page], **more}}

    def take(self) -> None:
        """Move what moto has noted of its tables' changes into their streams."""
        for backend in dynamodb_backends[_ACCOUNT].values():
            for name, table in backend.tables.items():
                if table.stream_shard is None:
                    continue
                if name not in self.all:
                    self.all[name] = Stream(2, lambda n: f"shardId-{1541626099285 + n:020d}-{n:08x}")
                items = table.stream_shard.items
                stream = self.all[name]
                taken = sum(len(shard.records) for shard in stream.shards.values())
                for item in items[taken:]:
                    record = _as_sent(item.to_json())
                    change = record["dynamodb"]
                    (key,) = change["Keys"][table.hash_key_attr].values()
                    stream.put(key, int(change["SequenceNumber"]), record)

    def _iterator(self, name: str, asked: dict[str, Any], at: int) -> JsonObject:
        shard = self._shard(name, asked["ShardId"])
        since = asked.get("Timestamp", 0)
        kind = asked["ShardIteratorType"]
        place = self.all[name].begin(shard, kind, at, lambda record: record["ApproximateArrivalTimestamp"] >= since)
        return {"ShardIterator": f"{name}:{shard.id}:{place}:{self.epoch}"}

    def _records(self, asked: dict[str, Any]) -> JsonObject:
        name, shard_id, place, epoch = asked["ShardIterator"].rsplit(":", 3)
        if int(epoch) != self.epoch:
            raise Refused("ExpiredIteratorException", "the iterator is too old")
        shard, begin = self._shard(name, shard_id), int(place)
        # now and then nothing comes although there is more, as the services may do
        limit = 0 if self._choices.random() < _EMPTY_SHARE else asked["Limit"]
        records, end, ended = self.all[name].read(shard, begin, limit)
        more = {} if ended else {"NextShardIterator": f"{name}:{shard_id}:{end}:{epoch}"}
        return {"Records": records, "MillisBehindLatest": 0 if end == len(shard.records) else 1000, **more}

    def _stream(self, name: str) -> Stream:
        if name not in self.all:
            raise Refused("ResourceNotFoundException", f"no stream {name}")
        return self.all[name]

    def _shard(self, name: str, shard: str) -> Shard:
        if shard not in self._stream(name).shards:
            raise Refused("ResourceNotFoundException", f"no shard {shard}")
        return self.all[name].shards[shard]


def _as_sent(record: Mapping[str, Any]) -> JsonObject:
    """A record of moto's as it is sent, and its own from now on."""
    created = record["dynamodb"]["ApproximateCreationDateTime"].replace(tzinfo=UTC).timestamp()
    change = {**record["dynamodb"], "ApproximateCreationDateTime": int(created)}
    copied: JsonObject = json.loads(dynamo_json_dump({**record, "dynamodb": change}))
    return copied


def _listed(shard: Shard) -> JsonObject:
    parents = dict(zip(("ParentShardId", "AdjacentParentShardId"), shard.parents, strict=False))
    numbers = {"StartingSequenceNumber": "0", **({"EndingSequenceNumber": "9"} if shard.closed else {})}
    hashes = {"StartingHashKey": str(shard.low), "EndingHashKey": str(shard.high)}
    return {"ShardId": shard.id, **parents, "HashKeyRange": hashes, "SequenceNumberRange": numbers}


class Server:
    """The WSGI application."""

    def __init__(self) -> None:
        self._streams = Streams()
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self._choices = Random(2)
        self._share, self._until = 0.0, 0.0
        self._streams.refuses = self._refuses

    def __call__(self, environ: dict[str, Any], respond: Respond) -> Iterable[bytes]:
        """One request."""
        request = Request(environ)
        if request.path.startswith("/chaos/"):
            return self._controlled(request.path.removeprefix("/chaos/"), request.get_json())(environ, respond)
        service, _, action = request.headers.get("X-Amz-Target", "").partition(".")
        refused = self._refuses()
        if refused and self._choices.random() < 0.6:
            return self._busy(service)(environ, respond)
        answer = self._answer(service, action, request)
        if refused:
            # it was done, and the client isn't to know
            return _error(service, "InternalFailure", 500)(environ, respond)
        return answer(environ, respond)

    def _refuses(self) -> bool:
        return time.monotonic() < self._until and self._choices.random() < self._share

    def _controlled(self, action: str, given: dict[str, Any]) -> Response:
        with self._lock:
            match action:
                case "reshard":
                    done = self._streams.all[given["stream"]].reshard(Random(given["choice"]), given["merges"])
                    return Response(json.dumps(done))
                case "refuse":
                    self._share, self._until = given["share"], time.monotonic() + given["seconds"]
                case "expire":
                    self._streams.epoch += 1
                case "records":
                    return Response(json.dumps(list(self._streams.all[given["stream"]].all())))
        return Response("null")

    def _busy(self, service: str) -> Response:
        return _error(service, *self._choices.choice(_BUSY))

    def _answer(self, service: str, action: str, request: Request) -> Answer:
        played = {"Kinesis_20131202": self._streams.kinesis, "DynamoDBStreams_20120810": self._streams.dynamodb}
        if service in played:
            asked = json.loads(request.get_data())
            with self._lock:
                try:
                    return Response(json.dumps(played[service](action, asked)), content_type=_JSON)
                except Refused as refused:
                    return _error(service, refused.args[0], 400, refused.args[1])
        if service.startswith("DynamoDB_"):
            # moto changes an item and notes it in two steps
            with self._lock:
                answer = Response.from_app(self._moto, request.environ, buffered=True)
                self._streams.take()
                return answer
        return Response.from_app(self._moto, request.environ, buffered=True)


def _error(service: str, code: str, status: int, why: str = "so it was decided") -> Response:
    if service:
        return Response(json.dumps({"__type": code, "message": why}), status, content_type=_JSON)
    xml = f"<Error><Code>SlowDown</Code><Message>{why}</Message></Error>"
    return Response(xml, 500 if status == 500 else 503, content_type="application/xml")


def main() -> None:
    """Serve on 127.0.0.1, at the port that the command line names."""
    copy_tables_lightly()
    run_simple("127.0.0.1", int(sys.argv[1]), Server(), threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
