"""A login that a real Kafka refuses is said to be refused, whichever way it comes, and what to correct, not by what."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from connectors.kafka import clients, outcomes, producer, source, topics
from connectors.kafka.letters import topic as letters_topic
from connectors.kafka.staged import log as staged_log
from connectors.kafka.staged.log import KafkaLog
from connectors.reaching import unreachable
from connectors.staged.store import StagedStore
from core.config.pipeline import Pipeline
from core.config.source import Kafka
from core.config.staging import StagedTopic
from core.errors import ConfigError
from operations.check import check
from tests.connectors.servers import Server

RIGHT, WRONG = "Zeitgeist-1", "Weltschmerz-2"
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
REFUSED = "refuses the login .SASL authentication error: Authentication failed: Invalid username or password.: "
WAITS = {
    source: "_WAIT_SECONDS",
    topics: "_ANSWER_S",
    outcomes: "_ANSWER_S",
    letters_topic: "_ANSWER_S",
    producer: "_ANSWER_SECONDS",
    staged_log: "ANSWER_S",
}


@pytest.fixture(scope="module")
def listener(kafka_server: Server) -> Iterator[str]:
    """An address of the run's Kafka that wants a login, for as long as these tests run.

    Nothing else is advertised there, so who is let in is sent nowhere.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    admin = AdminClient({"bootstrap.servers": kafka_server.address})
    broker = ConfigResource(ConfigResource.Type.BROKER, "1")
    there = admin.describe_configs([broker])[broker].result()
    wanted = {
        "listener.name.login.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.login.plain.sasl.jaas.config": f'{PLAIN} user_writer="{RIGHT}";',
        "listener.security.protocol.map": f"{there['listener.security.protocol.map'].value},LOGIN:SASL_PLAINTEXT",
        "listeners": f"{there['listeners'].value},LOGIN://{address}",
    }
    _configure(admin, wanted, AlterConfigOpType.SET)
    deadline = time.monotonic() + 30
    while unreachable([address]) and time.monotonic() < deadline:
        time.sleep(0.05)
    yield address
    _configure(admin, wanted, AlterConfigOpType.DELETE)


def _configure(admin: AdminClient, wanted: Mapping[str, str], how: AlterConfigOpType) -> None:
    entries = [ConfigEntry(name, value, incremental_operation=how) for name, value in wanted.items()]
    asked = ConfigResource(ConfigResource.Type.BROKER, "1", incremental_configs=entries)
    for done in admin.incremental_alter_configs([asked]).values():
        done.result()


@pytest.fixture(autouse=True)
def no_long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that can't succeed takes as long as it may."""
    for module, name in WAITS.items():
        monkeypatch.setattr(module, name, 0.2)


@dataclass(frozen=True)
class Login:
    """A topic at an address, with what its clients log in by."""

    address: str
    password: str = WRONG
    mechanism: str = "PLAIN"

    @property
    def settings(self) -> dict[str, str]:
        return {
            "topic": "t",
            "properties.bootstrap.servers": self.address,
            "properties.security.protocol": "SASL_PLAINTEXT",
            "properties.sasl.mechanism": self.mechanism,
            "properties.sasl.jaas.config": f'{PLAIN} username="writer" password="{self.password}";',
        }

    @property
    def kafka(self) -> Kafka:
        return Kafka.model_validate(self.settings)

    def store(self) -> StagedStore:
        return StagedStore(KafkaLog(StagedTopic.model_validate(self.settings), 0.5), 4, "m")


def _ends(kafka: Kafka) -> Any:
    with topics.reading(kafka) as consumer:
        return topics.ends(consumer, kafka, "t")


WAYS: Mapping[str, Callable[[Login], object]] = {
    "the source's topics": lambda login: source.topics_there(login.kafka),
    "a reader": lambda login: _ends(login.kafka),
    "the topic of letters": lambda login: letters_topic.room(login.kafka, "t"),
    "a follower": lambda login: outcomes.Tail(login.kafka, "t").log(),
    "a sender": lambda login: producer.Sender(login.address, source.login(login.kafka)),
    "a store looked at": lambda login: login.store().look(),
    "a store made": lambda login: login.store().prepare(),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_wrong_password_is_a_refused_login_and_stays_unsaid(listener: str, way: str) -> None:
    with pytest.raises(ConfigError, match=REFUSED) as refused:
        WAYS[way](Login(listener))
    assert f"Kafka at {listener} refuses" in str(refused.value)
    assert WRONG not in str(refused.value)
    assert way == "a sender" or "username and password in properties.sasl.jaas.config" in str(refused.value)


def test_a_mechanism_that_the_cluster_has_not_is_named_with_those_it_has(listener: str) -> None:
    with pytest.raises(ConfigError, match=r"refuses the login \(SASL SCRAM-SHA-512 .* supported mechanisms: PLAIN\)"):
        source.topics_there(Login(listener, RIGHT, "SCRAM-SHA-512").kafka)


def test_a_login_that_holds_is_none_that_is_refused(listener: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "_LOGIN_S", 1.0)
    assert source.refusal(Login(listener, RIGHT).kafka) is None
    assert source.refusal(Login(listener, WRONG).kafka) is not None


def test_check_says_of_each_part_whose_login_is_refused(listener: str) -> None:
    login = Login(listener).settings
    pipeline = Pipeline.model_validate(
        {
            "name": "refused",
            "source": {"kafka": login},
            "format": "debezium",
            "documents": {"public.articles": {"text": "{body}"}},
            "embedding": {"model": "hash"},
            "store": {"kafka": {**login, "topic": "staged"}},
            "dead_letters": {"kafka": {"topic": "letters"}},
        }
    )
    found = {finding.step: finding for finding in check(pipeline)}
    for step in ("source.kafka", "dead_letters.kafka", "store.kafka"):
        assert not found[step].ok
        assert "refuses the login" in found[step].message
    assert WRONG not in str(found)
