"""Login by IAM to a real PostgreSQL behind a front that checks tokens as RDS says it does. RDS itself isn't reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import botocore.auth
import psycopg
import pytest

from connectors.opening.stores import Stores, open_profiles, open_stores
from connectors.pgvector.store import PgvectorStore
from connectors.postgres import login as logins
from connectors.postgres import session
from connectors.postgres.catalog import catalog
from connectors.postgres.login import ByIam
from connectors.postgres.rows import Reselect
from core.config.pipeline import SourceDatabase
from core.config.store import Store
from core.errors import ConfigError, Unavailable
from tests.connectors.rds import HOST, Front, certified, front
from tests.connectors.servers import Server
from tests.connectors.test_store_contract import APPLIED, apply, plan
from tests.databases import new_database

REGION = "eu-central-1"


@pytest.fixture
def before(pgvector_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """A front before a database of the test's own, whose clock is the signer's too."""
    database = new_database(pgvector_server.dsn, f"iam_{uuid4().hex[:8]}")
    certificate = certified(tmp_path)
    monkeypatch.setattr(session, "RDS", certificate)
    logins._signer.cache_clear()
    with front(database, certificate) as state:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", state.key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", state.secret)
        for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(botocore.auth, "get_current_datetime", clock(state))
        yield state
    logins._signer.cache_clear()


def clock(of: Front) -> Callable[[], datetime]:
    return lambda *_: of.now.replace(tzinfo=None)


def dsn(of: Front, more: str = "") -> str:
    return f"postgresql://{of.user}@{HOST}:{of.port}/freshet?connect_timeout=5{more}"


def settings(of: Front) -> dict[str, object]:
    return {"dsn": dsn(of), "aws": {"region": REGION}}


def chunks(of: Front) -> PgvectorStore:
    """The store of a pipeline file, opened as a job opens it."""
    kept = Store.model_validate({"pgvector": {**settings(of), "table": "chunks"}})
    opened = open_stores(Stores("articles", kept, "m", 1000), 4, patience_s=5)["pgvector"]
    assert isinstance(opened, PgvectorStore)
    return opened


def test_each_connection_has_a_token_of_its_own_and_goes_on_when_it_has_ended(before: Front) -> None:
    with closing(chunks(before)) as store:
        store.prepare()
        assert apply(store, plan("t/1", "1", "one")) == [APPLIED]
        assert len(before.shown) == 1
        before.now += timedelta(minutes=16)
        assert before.refusal(before.user, before.shown[0]) == "the token isn't valid now"
        assert apply(store, plan("t/1", "2", "two")) == [APPLIED], "a connection outlives its token"
        assert len(before.shown) == 1
        with psycopg.connect(before.dsn, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        assert apply(store, plan("t/1", "3", "three")) == [APPLIED]
        first, second = before.shown
        assert first != second and before.refusal(before.user, second) == ""
        assert before.secret not in second


def test_an_old_token_lets_nobody_in(before: Front) -> None:
    with closing(chunks(before)) as store:
        store.prepare()
    before.now += timedelta(minutes=16)
    with pytest.raises(psycopg.OperationalError, match="PAM authentication failed"):
        session.connect(
            {"host": HOST, "port": str(before.port), "user": before.user, "password": before.shown[0],
             "sslmode": "verify-full", "sslrootcert": "rds"}
        )  # fmt: skip


def test_profiles_rows_and_the_catalog_are_reached_by_it(before: Front) -> None:
    kept = Store.model_validate({"postgres": settings(before)})
    with closing(open_profiles(Stores("people", kept, "m", 1000))) as profiles:
        profiles.prepare()
        assert profiles.look()
    with psycopg.connect(before.dsn, autocommit=True) as hand:
        hand.execute("CREATE TABLE rows (id int PRIMARY KEY, name text)")
        hand.execute("INSERT INTO rows VALUES (1, 'Kari')")
    with closing(Reselect.of(SourceDatabase.model_validate(settings(before)))) as source:
        assert source.row("public.rows", {"id": 1}) == {"id": 1, "name": "Kari"}
    with catalog(dsn(before), "reselect.postgres.dsn", ByIam(REGION)) as database:
        assert "public.rows" in database.tables()
    assert len(before.shown) == 3


def test_who_may_not_connect_is_told_what_to_grant(before: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another one")
    with closing(chunks(before)) as store, pytest.raises(Unavailable) as refused:
        store.prepare()
    assert "refuses the login" in str(refused.value)
    assert "grant rds_iam to the user, and rds-db:connect" in str(refused.value)
    assert before.shown and not any(token in str(refused.value) for token in before.shown)


def test_who_is_not_verified_is_shown_no_token(before: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "others").mkdir()
    monkeypatch.setattr(session, "RDS", certified(tmp_path / "others"))
    with closing(chunks(before)) as store, pytest.raises(Unavailable, match="certificate verify failed"):
        store.prepare()
    assert before.shown == []


def test_without_credentials_the_setting_is_named(before: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with closing(chunks(before)) as store, pytest.raises(ConfigError, match=r"store\.pgvector\.aws: .*credentials"):
        store.prepare()
    assert before.shown == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("postgresql://app:hunter2@h:5432/db", "has a password, and aws logs in by IAM: leave either out"),
        ("postgresql://app@h:5432/db?sslmode=require", "has sslmode=require, .*: write verify-full"),
        ("postgresql://app@h1:5432,h2:5432/db", "must name one host"),
        ("dbname=db user=app", "must name one host"),
        ("postgresql://h:5432/db", "must name the user"),
    ],
)
def test_a_connection_string_that_goes_with_no_token_is_refused(given: str, problem: str) -> None:
    for refused in (
        lambda: PgvectorStore(given, "chunks", 4, "m", login=ByIam(REGION)),
        lambda: catalog(given, "reselect.postgres.dsn", ByIam(REGION)).__enter__(),
    ):
        with pytest.raises(ConfigError, match=problem) as raised:
            refused()
        assert "hunter2" not in str(raised.value)
        assert str(raised.value).startswith(("store.pgvector.dsn ", "reselect.postgres.dsn "))
