"""The files of `freshet serve`: what is wrong in them, keys that are added, and how often a key may ask."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cli.main import commands
from core.config.store import Store
from core.errors import ConfigError
from core.stores.filters.language import EVERYTHING
from serving.access import Defaults, Grant, Pace, by_keys, charge, to_everyone
from serving.key_file import KeyFile
from serving.keys import add, digest, read_keys
from serving.offer import check_host
from serving.problems import Refused
from serving.settings import read
from tests.flink_jobs.people import PROFILES

PIPELINE: dict[str, Any] = {
    "name": "articles",
    "source": {"kafka": {"topic": "a", "properties.bootstrap.servers": "127.0.0.1:1"}},
    "format": "debezium",
    "documents": {"public.articles": {"text": "{body}", "metadata": ["tenant", "lang"]}},
    "embedding": {"model": "hash"},
    "store": {"pgvector": {"dsn": "postgresql://127.0.0.1:1/x", "table": "articles"}},
    "dead_letters": {"kafka": {"topic": "d"}},
}
PEOPLE = {
    **{name: value for name, value in PIPELINE.items() if name != "documents"},
    "profiles": PROFILES,
    "embedding": {"model": "hash", "text": "{name}"},
    "store": {"postgres": {"dsn": "postgresql://127.0.0.1:1/x"}},
}
FOR_ARTICLES = {"indexes": ["articles"], "filter": "{}"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "articles.yaml").write_text(yaml.safe_dump(PIPELINE), encoding="utf-8")
    (tmp_path / "people.yaml").write_text(yaml.safe_dump(PEOPLE), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a", "serve.yaml: none of indexes, profiles and feedback is set; there is nothing to serve"),
        ("name: a\nindexes: {manuals: {}}", "serve.yaml, line 2: indexes.manuals.pipeline is missing; it is required"),
        (
            "name: a\nindexes: {manuals: {pipeline: nowhere.yaml}}",
            "serve.yaml: indexes.manuals.pipeline is 'nowhere.yaml': there is no such file",
        ),
        (
            "name: a\nindexes: {manuals: {pipeline: people.yaml}}",
            "serve.yaml: indexes.manuals.pipeline is 'people.yaml': "
            f"it names no store of vectors: {Store.some('vectors')}",
        ),
        (
            "name: a\nindexes: {manuals: {pipeline: articles.yaml, store: opensearch}}",
            "serve.yaml: indexes.manuals.store is 'opensearch': it must be a store of that pipeline: pgvector",
        ),
        (
            "name: a\nprofiles: {pipeline: articles.yaml}",
            "serve.yaml: profiles.pipeline is 'articles.yaml': it makes documents: name one that makes profiles",
        ),
        (
            "name: a\nfeedback: {pipeline: articles.yaml}",
            "serve.yaml: feedback.pipeline is 'articles.yaml': it makes documents: name one that makes feedback",
        ),
        (
            "name: a\nindexes: {manuals: {pipelin: articles.yaml}}",
            "serve.yaml, line 2: indexes.manuals.pipelin is no setting; did you mean pipeline?",
        ),
        (
            "name: a\nindexes: {manuals: {pipeline: articles.yaml, connections: 0}}",
            "serve.yaml, line 2: indexes.manuals.connections is 0: it must be at least 1",
        ),
        (
            "name: a\nindexes: {manuals: {pipeline: articles.yaml}}\nkeys: keys.yaml",
            "serve.yaml: keys is 'keys.yaml': there is no such file; `freshet serve-key add keys.yaml` makes it",
        ),
    ],
)
def test_what_is_wrong_is_named(folder: Path, text: str, said: str) -> None:
    (folder / "serve.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        read(folder / "serve.yaml")
    assert f"{folder}/{said}" in refused.value.problems, refused.value.problems


def test_paths_of_answers_models_begin_at_the_servers_file(folder: Path) -> None:
    file, named = folder / "serve.yaml", "name: a\nindexes: {articles: {pipeline: articles.yaml}}\n"
    (folder / "smollm2").mkdir()
    (folder / "smollm2" / "tokenizer.json").touch()
    file.write_text(f"{named}answer: {{tokenizer: smollm2, rerank: {{folder: {{path: ranker}}}}}}", encoding="utf-8")
    answer = read(file).settings.answer
    assert answer.rerank is not None and answer.rerank.folder is not None
    assert (answer.tokenizer, answer.rerank.folder.path) == (
        folder / "smollm2" / "tokenizer.json",
        folder / "ranker",
    )
    file.write_text(f"{named}answer: {{tokenizer: all-MiniLM-L6-v2}}", encoding="utf-8")
    assert read(file).settings.answer.tokenizer == Path("all-MiniLM-L6-v2")


def test_without_keys_no_other_machine_is_answered(folder: Path) -> None:
    (folder / "serve.yaml").write_text("name: a\nindexes: {articles: {pipeline: articles.yaml}}", encoding="utf-8")
    served = read(folder / "serve.yaml")
    check_host(served, "127.0.0.1")
    with pytest.raises(ConfigError, match=r"--host is '0\.0\.0\.0', where others reach it, and \S+ has no keys"):
        check_host(served, "0.0.0.0")
    add(folder / "keys.yaml", "acme", FOR_ARTICLES)
    with (folder / "serve.yaml").open("a") as file:
        file.write("\nkeys: keys.yaml")
    check_host(read(folder / "serve.yaml"), "0.0.0.0")


def added(*arguments: str | Path) -> str:
    ran = CliRunner().invoke(commands, ["serve-key", "add", *map(str, arguments)])
    if ran.exception is not None:
        raise ran.exception
    return ran.output.strip()


def test_a_key_is_printed_once_and_its_hash_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    one = added(file, "--name", "acme", "--index", "manuals", "--filter", '{"tenant": "acme"}', "--per-minute", "60")
    assert file.stat().st_mode & 0o777 == 0o600 and one not in file.read_text(encoding="utf-8")
    file.write_text(f"# whose they are\n{file.read_text(encoding='utf-8')}  # the last\n", encoding="utf-8")
    other = added(file, "--name", "beta", "--index", "manuals", "--index", "tickets", "--profiles", "--metrics")
    text, keys = file.read_text(encoding="utf-8"), read_keys(file).keys
    assert "# whose they are" in text and "# the last" in text and list(keys) == ["acme", "beta"]
    assert (keys["acme"].sha256, keys["beta"].sha256) == (digest(one), digest(other)) and one != other
    assert (keys["acme"].filter, keys["acme"].per_minute, keys["acme"].profiles) == ({"tenant": "acme"}, 60, False)
    assert (keys["beta"].indexes, keys["beta"].profiles, keys["beta"].metrics) == (("manuals", "tickets"), True, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--name", "acme", "--index", "a"), "keys.acme is there already: take another name, or remove it first"),
        (("--name", "beta"), "the key of beta would be for nothing: give --index, --profiles, --kpis or --metrics"),
        (
            ("--name", "beta", "--kpis", "--filter", '{"tenant": "b"}'),
            "filter can't be held to KPIs, which are of every",
        ),
        (("--name", "b c", "--index", "a"), "must be up to 100 letters, digits, _, . and -"),
        (("--name", "b", "--index", "a", "--filter", "tenant=acme"), "--filter is 'tenant=acme', must be JSON"),
        (("--name", "b", "--index", "a", "--filter", "[]"), "--filter is '[]', must be an object"),
    ],
)
def test_a_key_that_is_none_is_not_added(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    file = tmp_path / "keys.yaml"
    add(file, "acme", FOR_ARTICLES)
    before = file.read_text(encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        added(file, *arguments)
    assert said in str(refused.value) and file.read_text(encoding="utf-8") == before


@pytest.mark.parametrize("text", ["keys: {acme: {sha256: HASH}}\n", "keys:\n    acme:\n        sha256: HASH\n"])
def test_a_file_that_is_written_otherwise_stays_as_it_is(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.yaml"
    file.write_text(text.replace("HASH", digest("x")), encoding="utf-8")
    with pytest.raises(ConfigError):
        add(file, "beta", FOR_ARTICLES)
    assert digest("x") in file.read_text(encoding="utf-8") and list(read_keys(file).keys) == ["acme"]


def test_a_key_fits_what_is_served(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    add(file, "acme", {"indexes": ["manuals", "letters"], "filter": '{"tenant": "acme"}'})
    add(file, "beta", {"profiles": True, "filter": '{"tenant": "beta"}'})
    with pytest.raises(ConfigError) as refused:
        by_keys(read_keys(file), {"manuals": frozenset({"lang"})}, frozenset({"city"}))
    indexes, of_documents, of_people = refused.value.problems
    assert indexes == "keys.acme.indexes names letters, which isn't served; there are manuals"
    assert of_documents.startswith("keys.acme.filter.tenant: 'tenant' is no column")
    assert of_people.startswith("keys.beta.filter.tenant: 'tenant' is no column")


def test_a_keys_defaults_fit_what_it_is_for(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    key = add(file, "acme", {"indexes": ["manuals"], "filter": '{"tenant": "acme"}'})
    text = yaml.safe_load(file.read_text(encoding="utf-8"))
    columns = {"manuals": frozenset({"tenant", "lang"}), "letters": frozenset({"tenant"})}

    def grant(**defaults: Any) -> Grant:
        text["keys"]["acme"]["defaults"] = defaults
        file.write_text(yaml.safe_dump(text), encoding="utf-8")
        return by_keys(read_keys(file), columns, frozenset())[0](f"Bearer {key}")

    found = grant(customer="email/kari@x.no", indexes=["manuals"], filter={"lang": "de"})
    assert (found.name, found.defaults) == ("acme", Defaults("email/kari@x.no", ("manuals",), '{"lang": "de"}'))
    assert grant().defaults == Defaults()
    with pytest.raises(ConfigError, match=r"keys\.acme\.defaults\.indexes names letters, which the key isn't for"):
        grant(indexes=["letters"])
    with pytest.raises(ConfigError, match=r"keys\.acme\.defaults\.filter\.city: 'city' is no column"):
        grant(filter={"city": "Bergen"})


def test_a_key_has_one_entry(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    add(file, "acme", {"indexes": ["manuals"], "filter": '{"tenant": "acme"}'})
    entry = file.read_text(encoding="utf-8").partition("\n")[2].replace("acme:", "copy:").partition("filter:")[0]
    file.write_text(f"{file.read_text(encoding='utf-8')}{entry.rstrip()}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"keys\.copy\.sha256 is that of keys\.acme too"):
        by_keys(read_keys(file), {"manuals": frozenset({"tenant"})}, frozenset())


def test_who_sends_a_key_sees_what_it_is_for(tmp_path: Path) -> None:
    key = add(tmp_path / "keys.yaml", "acme", {"indexes": ["manuals"], "filter": '{"lang": "de"}'})
    let_in, _ = by_keys(
        read_keys(tmp_path / "keys.yaml"), {"manuals": frozenset({"lang"}), "other": frozenset()}, frozenset()
    )
    assert let_in(f"Bearer {key}") == let_in(f"bearer  {key} ")
    grant = let_in(f"Bearer {key}")
    assert set(grant.indexes) == {"manuals"} and grant.indexes["manuals"] != EVERYTHING
    assert (grant.people, grant.figures) == (None, False)
    for none in (
        "",
        "Bearer",
        "Bearer ",
        f"Basic {key}",
        key,
        f"Bearer {digest(key)}",
        f"Bearer {key}x",
        "Bearer ü\udcff",
    ):
        with pytest.raises(Refused) as refused:
            let_in(none)
        assert refused.value.status == 401
    assert to_everyone(["manuals"])("").indexes == {"manuals": EVERYTHING}


def test_a_pace_lets_as_many_through_as_it_says() -> None:
    now = [0.0]
    pace = Pace(60, lambda: now[0])
    assert [pace.take() for _ in range(60)] == [0.0] * 60
    assert pace.take() == pytest.approx(1.0)
    now[0] = 0.5
    assert pace.take() == pytest.approx(0.5)
    now[0] = 3.0
    assert [pace.take() for _ in range(3)] == [0.0] * 3 and pace.take() > 0
    now[0] = 1e6
    assert [pace.take() > 0 for _ in range(61)] == [False] * 60 + [True]


def lets_in(file: KeyFile, key: str) -> bool:
    try:
        file.let_in(f"Bearer {key}")
    except Refused:
        return False
    return True


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_file_of_keys_is_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys.yaml"
    first = add(path, "first", {**FOR_ARTICLES, "per_minute": 5})
    file = KeyFile(path, {"articles": frozenset({"lang"})}, frozenset())
    with file.followed():
        charge(file.let_in(f"Bearer {first}"))
        second = add(path, "second", FOR_ARTICLES)
        eventually(lambda: lets_in(file, second))
        pace = file.let_in(f"Bearer {first}").pace
        assert pace is not None and [pace.take() > 0 for _ in range(5)][-1]  # what was used up stays so
        whole = path.read_text(encoding="utf-8")
        path.write_text(whole + "  third: {sha256: x, indexes: [articles]}", encoding="utf-8")
        eventually(lambda: "the keys of before let in still" in caplog.text and "keys.third.sha256" in caplog.text)
        assert lets_in(file, first) and lets_in(file, second)
        # as editors save: another file in its place
        (tmp_path / "new.yaml").write_text("keys:\n" + whole[whole.index("  second:") :], encoding="utf-8")
        (tmp_path / "new.yaml").replace(path)
        eventually(lambda: not lets_in(file, first))
        assert lets_in(file, second)
        path.write_text("keys:\n", encoding="utf-8")
        eventually(lambda: not lets_in(file, second))
