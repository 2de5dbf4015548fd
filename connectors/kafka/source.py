"""Kafka as Flink tables: the source of change events, and the topic of dead letters.

Both are tables of raw bytes with metadata: the DataStream connector shows Python neither keys, headers nor tombstones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from connectors.kafka import msk
from connectors.reaching import unreachable
from core.config.source import Kafka
from core.errors import ConfigError, Unavailable

SOURCE_COLUMNS = ("key", "value", "topic", "partition", "offset", "headers", "ts")
LETTER_COLUMNS = ("key", "value", "headers")

_LARGEST_MESSAGE = str(32 * 1024 * 1024)
_CLIENT_PREFIX = "properties."
_WAIT_SECONDS = 10
DISCOVERY = "scan.topic-partition-discovery.interval"
"""The option that says how often new partitions, and topics of a pattern, are looked for."""
_EVERY = "10 s"  # Flink's default, 5 minutes, has changes wait there that long
_SHARED = ("security.protocol", "sasl.mechanism", "ssl.endpoint.identification.algorithm")
# librdkafka would print to stderr, line after line, what its exceptions say anyway
SILENT = {"log_level": 0, "error_cb": lambda _: None}
_BY_PASSWORD = (
    "beside these properties.bootstrap.servers, correct properties.sasl.mechanism, properties.security.protocol, or "
    "username and password in properties.sasl.jaas.config"
)
_BY_IAM = (
    "let these AWS credentials do kafka-cluster:Connect there, or name others: by awsProfileName or awsRoleArn in "
    "properties.sasl.jaas.config"
)
_JAAS = re.compile(r"""\b(username|password)=["']([^"']*)["']""")


def discovery(kafka: Kafka) -> str:
    """How often new partitions, and topics of a pattern, are looked for, as in `10 s`."""
    return kafka.options.get(DISCOVERY, _EVERY)


def behind(column: str, ms: int) -> str:
    """A time of a table less so many milliseconds, which are whole seconds, as an expression of Flink's SQL."""
    # by unit, as an interval's first number has two digits
    units = (("DAY", 86_400_000, 100), ("HOUR", 3_600_000, 24), ("MINUTE", 60_000, 60), ("SECOND", 1_000, 60))
    parts = ((ms // size % most, unit) for unit, size, most in units)
    return f"`{column}`" + "".join(f" - INTERVAL '{count}' {unit}" for count, unit in parts if count)


def source_ddl(name: str, kafka: Kafka, group: str, behind_ms: int = 0) -> str:
    """`CREATE TABLE` for a topic's events, bytes untouched.

    A partition's watermark is the time of its last event, by Kafka's clock, less `behind_ms`. A tombstone has a NULL
    `value`. Headers of equal name come as the last of them, which is all a Flink MAP can hold.
    """
    topic = {"topic": kafka.topic} if kafka.topic is not None else {"topic-pattern": kafka.topic_pattern or ""}
    options = {
        "properties.group.id": group,
        "properties.fetch.message.max.bytes": _LARGEST_MESSAGE,
        # Java's consumer has Kafka make a topic again that is deleted under it, with the partitions of a default
        "properties.allow.auto.create.topics": "false",
        DISCOVERY: discovery(kafka),
        **kafka.options,
        **topic,
        "connector": "kafka",
        "properties.bootstrap.servers": kafka.bootstrap_servers,
        "key.format": "raw",
        "key.fields": "key",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
    }
    return f"""CREATE TEMPORARY TABLE {_identifier(name)} (
        `key` BYTES, `value` BYTES,
        `topic` STRING METADATA VIRTUAL, `partition` INT METADATA VIRTUAL, `offset` BIGINT METADATA VIRTUAL,
        `headers` MAP<STRING, BYTES> METADATA,
        `ts` TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL, WATERMARK FOR `ts` AS {behind("ts", behind_ms)}
    ) WITH ({_with(options)})"""


def letters_ddl(name: str, kafka: Kafka, topic: str) -> str:
    """`CREATE TABLE` for the topic of dead letters, on a cluster and with its client properties."""
    return _topic_ddl(name, kafka, topic, "`key` BYTES, `value` BYTES, `headers` MAP<STRING, BYTES> METADATA")


def outcomes_ddl(name: str, kafka: Kafka, topic: str) -> str:
    """`CREATE TABLE` for the topic of outcomes, likewise."""
    return _topic_ddl(name, kafka, topic, "`key` BYTES, `value` BYTES")


def _topic_ddl(name: str, kafka: Kafka, topic: str, columns: str) -> str:
    client = {key: value for key, value in kafka.options.items() if key.startswith(_CLIENT_PREFIX)}
    options = {
        **client,
        "connector": "kafka",
        "topic": topic,
        "properties.bootstrap.servers": kafka.bootstrap_servers,
        "properties.max.request.size": client.get("properties.max.request.size", _LARGEST_MESSAGE),
        # a letter of that size with what the client adds to it
        "properties.buffer.memory": client.get("properties.buffer.memory", str(64 * 1024 * 1024)),
        "key.format": "raw",
        "key.fields": "key",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
    }
    return f"CREATE TEMPORARY TABLE {_identifier(name)} ({columns}) WITH ({_with(options)})"


def check(kafka: Kafka) -> list[str]:
    """The topics that the source names and the cluster has, sorted. Raises as `topics_there`."""
    return named(kafka, topics_there(kafka) or ())


def named(kafka: Kafka, there: Iterable[str]) -> list[str]:
    """Those of the topics that the source names, sorted. Raises ConfigError where `topic-pattern` is no pattern."""
    if kafka.topic is not None:
        return sorted(set(kafka.topic.split(";")) & set(there))
    try:
        return sorted(topic for topic in there if re.fullmatch(kafka.topic_pattern or "", topic))
    except re.error as error:
        raise ConfigError(
            [f"source.kafka.topic-pattern is {kafka.topic_pattern!r}, which is no regular expression: {error}"]
        ) from None


def topics_there(kafka: Kafka) -> list[str] | None:
    """The topics that the cluster has; None where it can't be asked, as only Java clients know its login.

    Raises Unavailable where the cluster doesn't answer within 10 s, ConfigError where it refuses the login. One that
    only Java clients know is IAM or Kerberos: the job itself will tell.
    """
    # imported late: a job only needs the tables, and runs where librdkafka isn't
    from confluent_kafka import KafkaException

    from connectors.kafka import clients as kafka_clients

    client = client_options(kafka)
    if client is None:
        return None
    refuse_nobody(kafka)
    try:
        admin = kafka_clients.admin({**client, "socket.timeout.ms": 5000, **SILENT})
        return sorted(admin.list_topics(timeout=_WAIT_SECONDS).topics)
    except KafkaException as error:
        raise unavailable(kafka, error.args[0].str()) from None


def refuse_nobody(kafka: Kafka) -> None:
    """Raise Unavailable where nobody listens at its addresses, which a client would try for 10 s to reach."""
    if why := unreachable(kafka.bootstrap_servers.split(",")):
        raise _away(kafka, why)


def unavailable(kafka: Kafka, reason: str) -> Unavailable | ConfigError:
    """The error of a cluster that doesn't answer, refuses the login, or whose address is another server's.

    Asks the cluster once more whether it is the login, for 5 s at most: what failed doesn't say.
    """
    return refusal(kafka) or _away(kafka, reason)


def refusal(kafka: Kafka, place: str = "") -> ConfigError | None:
    """The error of a cluster that refuses the login; None where it takes it, wants none or says nothing.

    place  the part of the pipeline file that has the login, as in `store.kafka: `
    """
    from connectors.kafka import clients as kafka_clients

    if not (said := kafka_clients.refused_login(client_options(kafka) or {})):
        return None
    by_iam = kafka.options.get("properties.sasl.mechanism") == msk.MECHANISM
    return ConfigError(
        [f"{place}Kafka at {kafka.bootstrap_servers} refuses the login ({said}): {_BY_IAM if by_iam else _BY_PASSWORD}"]
    )


def _away(kafka: Kafka, reason: str) -> Unavailable:
    if "not supported by broker" in reason:
        return Unavailable(
            f"what answers at {kafka.bootstrap_servers} (source.kafka.properties.bootstrap.servers) is no broker's "
            f"address for clients: {reason}; correct it. A controller has a port of its own, which is none for clients"
        )
    return Unavailable(
        f"Kafka at {kafka.bootstrap_servers} (source.kafka.properties.bootstrap.servers) doesn't answer: "
        f"{reason}; start it, or correct the address"
    )


def login(kafka: Kafka) -> dict[str, Any]:
    """As `client_options`. Raises ConfigError where there are none."""
    options = client_options(kafka)
    if options is None:
        raise ConfigError(
            [
                "source.kafka: its login is one that only Java clients know, and this command is none: for AWS_MSK_IAM "
                "install freshet[aws]; else give it a user of PLAIN or SCRAM, with username and password in "
                "properties.sasl.jaas.config"
            ]
        )
    return options


def client_options(kafka: Kafka) -> dict[str, Any] | None:
    """librdkafka's options for the same cluster; None where it can't log in as the Java client does.

    Raises ConfigError where a login to MSK knows no region.
    """
    given = {key.removeprefix(_CLIENT_PREFIX): value for key, value in kafka.options.items()}
    options = {"bootstrap.servers": kafka.bootstrap_servers, **{key: given[key] for key in _SHARED if key in given}}
    if not given.get("security.protocol", "").upper().startswith("SASL"):
        return options
    jaas = given.get("sasl.jaas.config", "")
    if given.get("sasl.mechanism") == msk.MECHANISM:
        return {**options, **msk.options(kafka.bootstrap_servers, jaas)} if msk.is_here() else None
    login = dict(_JAAS.findall(jaas))
    if login.keys() != {"username", "password"}:
        return None
    return {**options, "sasl.username": login["username"], "sasl.password": login["password"]}


def _with(options: Mapping[str, str]) -> str:
    return ", ".join(f"{_literal(key)} = {_literal(value)}" for key, value in options.items())


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"
