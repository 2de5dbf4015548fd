"""Secrets that change while what logs in with them lives: in a Secrets Manager (moto's) and in a file."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import boto3
import psycopg
import pytest
import yaml
from psycopg import sql

from connectors.opening.stores import Stores, open_profiles, open_stores
from connectors.opensearch.store import OpenSearchStore
from connectors.postgres.catalog import catalog
from connectors.postgres.login import login_of
from connectors.rotation import ask
from core.config import secrets
from core.config.file import Manual, checked
from core.config.store import OpenSearch, Store
from core.errors import ConfigError, Unavailable
from core.stores.contract import VectorStore
from tests.aws import CREDENTIALS, moto_server
from tests.connectors.milvus_proxy import door
from tests.connectors.pinecone_server import pinecone_service
from tests.connectors.proxy import Proxy
from tests.connectors.servers import Server
from tests.connectors.test_store_contract import APPLIED, apply, plan
from tests.databases import as_user, new_database

REGION = CREDENTIALS["AWS_REGION"]


@dataclass(frozen=True)
class Kept:
    """A password of a database's user, where it is kept: `reference` names it, `keep` writes another one there."""

    reference: str
    keep: Callable[[str], object]


@pytest.fixture(scope="module")
def manager() -> Iterator[str]:
    with moto_server() as aws, pytest.MonkeyPatch.context() as patch:
        assert aws.endpoint
        patch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
        yield aws.endpoint


@pytest.fixture(params=["secretsmanager", "file"])
def kept(request: pytest.FixtureRequest, manager: str, tmp_path: Path) -> Kept:
    if request.param == "file":
        file = tmp_path / "password"
        return Kept(f"${{file:{file}}}", lambda text: file.write_text(f"{text}\n"))
    client, name = boto3.client("secretsmanager", REGION, endpoint_url=manager), f"shop/{uuid4().hex[:8]}"
    client.create_secret(Name=name, SecretString="{}")

    def keep(text: str) -> None:
        client.put_secret_value(SecretId=name, SecretString=json.dumps({"password": text}))

    return Kept(f"${{secretsmanager:{name}:password}}", keep)


@dataclass(frozen=True)
class Database:
    """One of the test's own; `dsn` is its owner's, `user` who logs in by a password, `written` as a file has it."""

    dsn: str
    user: str
    written: str

    def rotate(self, password: str) -> None:
        """Give the user another password, and end its connections."""
        change = sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(self.user), sql.Literal(password))
        with psycopg.connect(self.dsn, autocommit=True) as owner:
            owner.execute(change)
            owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [self.user])


@pytest.fixture
def database(pgvector_server: Server, kept: Kept) -> Database:
    dsn = new_database(pgvector_server.dsn, f"rotated_{uuid4().hex[:8]}")
    kept.keep("first")
    made = as_user(dsn, "first")
    user = made.partition("://")[2].partition(":")[0]
    return Database(dsn, user, made.replace(":first@", f":{kept.reference}@"))


def stores(folder: Path, **targets: object) -> Stores:
    """Those of a file, read as a pipeline file is."""
    file = folder / "store.yaml"
    file.write_text(yaml.safe_dump(targets), encoding="utf-8")
    return Stores("people", checked(file, Store, Manual("", "", ""), {}, {}, ask), "m", 1000)


def opened(of: Stores, patience_s: float = 10.0) -> VectorStore:
    """As a job opens it."""
    return open_stores(of, 4, patience_s)["pgvector"]


def test_a_writer_goes_on_with_the_password_that_is_rotated_to(
    database: Database, kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "READ_EVERY_S", 0.3)
    of = stores(tmp_path, pgvector={"dsn": database.written, "table": "chunks"})
    with closing(opened(of)) as store:
        store.prepare()
        assert apply(store, plan("t/1", "1", "one")) == [APPLIED]
        kept.keep("second")
        database.rotate("second")
        assert apply(store, plan("t/1", "2", "two")) == [APPLIED]
        # a worker that is started again has what the job began with
        with closing(opened(of)) as other:
            assert apply(other, plan("t/2", "1", "one")) == [APPLIED]


def test_it_is_read_anew_while_the_server_has_it_and_the_secret_has_not_yet(
    database: Database, kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rotation changes the server's first: "Lambda function rotation strategies", single user."""
    monkeypatch.setattr(secrets, "READ_EVERY_S", 0.3)
    of = stores(tmp_path, pgvector={"dsn": database.written, "table": "chunks"})
    with closing(opened(of, patience_s=30)) as store:
        store.prepare()
        database.rotate("second")
        late = threading.Timer(1.5, kept.keep, ("second",))
        late.start()
        assert apply(store, plan("t/1", "1", "one")) == [APPLIED]
        late.join()


def test_profiles_and_the_catalogue_read_it_anew(database: Database, kept: Kept, tmp_path: Path) -> None:
    of = stores(tmp_path, pgvector={"dsn": database.written, "table": "chunks"}, postgres={"dsn": database.written})
    with closing(open_profiles(of)) as store:
        store.prepare()
        kept.keep("second")
        database.rotate("second")
        store.prepare()
    assert of.settings.postgres is not None
    with catalog(of.settings.postgres.dsn, "store.postgres.dsn", login_of(of.settings.postgres)) as found:
        assert "public.people_profiles" in found.tables()


def test_a_secret_that_is_wrong_or_gone_is_a_refused_login(
    database: Database, kept: Kept, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    of = stores(tmp_path, pgvector={"dsn": database.written, "table": "chunks"})
    database.rotate("second-Geheimnis")
    with closing(opened(of, patience_s=0.5)) as store:
        with pytest.raises(Unavailable, match=r"refuses the login .*have the secret say the user and password of now"):
            store.prepare()
        kept.keep("third-Geheimnis%")
        with pytest.raises(Unavailable, match="refuses the login"):
            store.prepare()
    assert "Geheimnis" not in caplog.text


def test_a_password_of_opensearch_is_read_anew(
    way: Proxy, target: OpenSearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "READ_EVERY_S", 0.2)
    password = tmp_path / "password"
    settings = target.model_copy(update={"hosts": (way.url,), "user": "freshet", "password": "first"})
    settings.refer("password", secrets.Reference(f"${{file:{password}}}", secrets.nobody_tells))
    store = OpenSearchStore(settings, 4, "m", patience_s=10)
    way.lets_in = basic("first")
    store.prepare()
    password.write_text("second")
    way.lets_in = basic("second")
    assert apply(store, plan("d", "1", "one")) == [APPLIED]
    # the cluster has it, and the secret hasn't yet
    way.lets_in = basic("third")
    late = threading.Timer(1.0, password.write_text, ("third",))
    late.start()
    assert apply(store, plan("d", "2", "two")) == [APPLIED]
    late.join()
    store.close()
    way.lets_in = basic("fourth")
    given_up = OpenSearchStore(settings, 4, "m", patience_s=0.2)
    with pytest.raises(ConfigError, match=r"refuses \(401 .*correct index, user and password") as refused:
        given_up.prepare()
    assert "third" not in str(refused.value)
    given_up.close()


@dataclass(frozen=True)
class Keyed:
    """A store whose server knows it by one key: `opened` opens it with a patience, `rotate` has it know another."""

    opened: Callable[[float], VectorStore]
    rotate: Callable[[str], None]
    refused: str


@pytest.fixture(params=["milvus", "pinecone"])
def keyed(request: pytest.FixtureRequest, kept: Kept, tmp_path: Path) -> Iterator[Keyed]:
    kept.keep("first-Geheimnis")
    if request.param == "milvus":
        with door(request.getfixturevalue("milvus_server").address, "first-Geheimnis") as way:
            place = {"uri": way.url, "collection": f"rotated_{uuid4().hex[:8]}", "token": kept.reference}
            of = stores(tmp_path, milvus=place)
            yield Keyed(
                lambda patience_s: open_stores(of, 4, patience_s)["milvus"],
                lambda token: setattr(way, "lets_in", token),
                r"store.milvus.token: Milvus at .* refuses it",
            )
        return
    with pinecone_service() as service:
        service.key = "first-Geheimnis"
        place = {"index": "articles", "namespace": "chunks", "api_key": kept.reference, "host": service.url}
        of = stores(tmp_path, pinecone=place)
        yield Keyed(
            lambda patience_s: open_stores(of, 4, patience_s)["pinecone"],
            lambda key: setattr(service, "key", key),
            r"store.pinecone.api_key: index articles .* answers 401",
        )


def test_a_key_of_milvus_or_pinecone_is_read_anew(
    keyed: Keyed, kept: Kept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(secrets, "READ_EVERY_S", 0.2)
    with closing(keyed.opened(20.0)) as store:
        store.prepare()
        kept.keep("second-Geheimnis")
        keyed.rotate("second-Geheimnis")
        assert apply(store, plan("t/1", "1", "one")) == [APPLIED]
        # the server has it, and the secret hasn't yet; what no header can hold is never sent
        keyed.rotate("third-Geheimnis")
        kept.keep("third Geheimnis é")
        late = threading.Timer(0.5, kept.keep, ("third-Geheimnis",))
        late.start()
        assert apply(store, plan("t/1", "2", "two")) == [APPLIED]
        late.join()
        # a worker that is started again has what the job began with
        with closing(keyed.opened(20.0)) as other:
            assert apply(other, plan("t/2", "1", "one")) == [APPLIED]
    keyed.rotate("fourth-Geheimnis")
    with closing(keyed.opened(0.3)) as given_up, pytest.raises(ConfigError, match=keyed.refused) as refused:
        given_up.prepare()
    assert "Geheimnis" not in f"{refused.value}{caplog.text}"


def basic(password: str) -> str:
    return f"Basic {b64encode(f'freshet:{password}'.encode()).decode()}"
