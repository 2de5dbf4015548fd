from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.config.file import load
from core.config.pipeline import Pipeline
from core.config.store import Store
from core.errors import ConfigError
from core.identity.rules import IdentifierRule
from core.profiles.merging import Rule
from core.profiles.records import Event

DAY_MS = 86_400_000

GOOD = r"""
name: customers
source:
  kafka:
    topic-pattern: shop\.public\..*
    properties.bootstrap.servers: 127.0.0.1:9092
format: debezium
profiles:
  identifiers:
    - {type: customer_id, limit: 1}
    - {type: email, normalize: email, limit: 5}
    - {type: phone, normalize: {phone: NO}, limit: 5}
    - {type: device, limit: 20, expires: 90d}
    - {type: name_birth, normalize: fold, limit: 3, shared: 50}
  blocked: ["", "null", "anonymous", "^0+$", "test@.*"]
  records:
    public.customers:
      identifiers: {customer_id: id, email: [email, old_email], phone: phone, name_birth: "{name}|{born}"}
      attributes: {name: name, city: city}
      trust: 3
    public.orders:
      identifiers: {customer_id: customer_id}
      events: {last_order: created_at, total_spent: {sum: amount}, orders: count, titles: {last: 3, of: title}}
      time: created_at
    public.web_visits: {identifiers: {device: device, email: login_email}, attributes: {language: lang}, trust: 1}
  survivorship: {name: most_trusted, city: latest, language: most_frequent}
embedding: {model: all-MiniLM-L6-v2, text: "{name}, {city}. {orders} orders, last {last_order}."}
store:
  postgres: {dsn: "postgresql://me@127.0.0.1/db"}
  pgvector: {dsn: "postgresql://me@127.0.0.1/db", table: customers}
dead_letters:
  kafka: {topic: customers.dead-letters}
"""

NO_PROFILE_STORE = " and ".join(f"store.{each}" for each in Store.holding("profiles")) + " are missing"
MISTAKES = [
    ('  postgres: {dsn: "postgresql://me@127.0.0.1/db"}\n', "", NO_PROFILE_STORE),
    ("type: email,", "type: e mail,", "profiles.identifiers.1.type is 'e mail'"),
    ("type: email,", "type: phone,", "profiles.identifiers: type 'phone' stands twice"),
    ("limit: 1}", "limit: 0}", "profiles.identifiers.0.limit is 0: it must be at least 1"),
    ("normalize: email", "normalize: mail", "profiles.identifiers.1.normalize is 'mail': must be one of text, fold"),
    ("{phone: NO}", "{phone: Norway}", "normalize: phone: 'Norway' is no region; write two letters, as in NO"),
    ("expires: 90d", "expires: 90 years", "profiles.identifiers.3.expires is '90 years'"),
    ("^0+$", "(0+", "profiles.blocked: '(0+' is no regular expression"),
    ("public.orders:", "orders:", "profiles.records.orders must be written schema.table"),
    ("device: device", "gadget: device", "records.public.web_visits.identifiers names 'gadget', which is no type"),
    ('"{name}|{born}"', '"{name|{born}"', "profiles.records.public.customers.identifiers"),
    ("{sum: amount}", "{mean: amount}", "events.total_spent: must be a column, count, {sum: column}"),
    ("{last: 3,", "{last: 0,", "events.titles: must be a column, count, {sum: column}"),
    ("orders: count", "name: count", "records.public.orders.events.name is an attribute too"),
    ("trust: 3", "trust: -3", "profiles.records.public.customers.trust is -3"),
    ("city: latest", "city: newest", "profiles.survivorship.city is 'newest'"),
    ("city: latest", "town: latest", "survivorship names 'town', which is no attribute"),
    ("last {last_order}", "last {last}", "embedding.text names 'last', which no profile has; there are city,"),
    ("{last_order}", "{last_order", "embedding.text is no template"),
    (', text: "{name}, {city}. {orders} orders, last {last_order}."', "", "embedding.text is missing"),
    ("profiles:\n", "documents: {public.a: {text: '{b}'}}\nprofiles:\n", "both documents and profiles are set"),
    ("  blocked:", "  ahead: soon\n  blocked:", "profiles.ahead is 'soon'"),
    ("  blocked:", "  without_identifier: drop\n  blocked:", "profiles.without_identifier is 'drop'"),
    ("  blocked:", "  block:", "profiles.block is no setting"),
]


def loaded(folder: Path, text: str) -> Pipeline:
    path = folder / "pipeline.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, {})


def test_a_good_file(tmp_path: Path) -> None:
    pipeline = loaded(tmp_path, GOOD)
    profiles = pipeline.profiles
    assert profiles is not None and pipeline.documents == {}
    linking = profiles.linking(pipeline.delete_retention_ms)
    assert linking.identifiers[3] == IdentifierRule("device", 20, 2000, 90 * DAY_MS)
    assert linking.identifiers[0] == IdentifierRule("customer_id", 1, 10**9)
    assert linking.identifiers[4] == IdentifierRule("name_birth", 3, 50)
    assert (linking.trust["public.customers"], linking.keep_alone, linking.remember_ms) == (3, True, 7 * DAY_MS)
    assert profiles.merging == {
        "city": Rule("latest"),
        "language": Rule("most_frequent"),
        "last_order": Rule("latest"),
        "name": Rule("most_trusted"),
        "orders": Rule("count"),
        "titles": Rule("last", 3),
        "total_spent": Rule("sum"),
    }
    customers, orders = profiles.spec("public.customers"), profiles.spec("public.orders")
    assert customers.identifiers["email"] == ("email", "old_email")
    assert customers.trusted == {"name"}
    assert orders.events["last_order"] == Event("latest", "created_at", "created_at")
    assert (orders.time, orders.events["titles"]) == ("created_at", Event("last", "title", "", 3))
    assert profiles.reading.normalizers["phone"]("22 22 55 55") == "+4722225555"
    assert profiles.reading.blocked("TEST@x.no") and not profiles.reading.blocked("tester")
    assert profiles.reading.ahead_ms == DAY_MS


@pytest.mark.parametrize(("right", "wrong", "says"), MISTAKES)
def test_a_mistake_is_placed_quoted_and_explained(tmp_path: Path, right: str, wrong: str, says: str) -> None:
    assert right in GOOD
    with pytest.raises(ConfigError) as raised:
        loaded(tmp_path, GOOD.replace(right, wrong, 1))
    found = raised.value.problems
    assert any(re.match(r".*pipeline\.yaml(, line \d+)?: ", line) and says in line for line in found), found


def test_a_file_has_documents_or_profiles(tmp_path: Path) -> None:
    begin, end = GOOD.index("profiles:"), GOOD.index("embedding:")
    with pytest.raises(ConfigError, match="neither documents nor profiles nor feedback is set"):
        loaded(tmp_path, GOOD[:begin] + GOOD[end:])


def test_the_text_of_profiles_is_none_of_documents(tmp_path: Path) -> None:
    begin, end = GOOD.index("profiles:"), GOOD.index("embedding:")
    with pytest.raises(ConfigError, match=r"embedding\.text is the text of profiles"):
        loaded(tmp_path, GOOD[:begin] + "documents: {public.a: {text: '{b}'}}\n" + GOOD[end:])


def test_dms_needs_keys(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"profiles\.records\.public\.customers\.key is missing"):
        loaded(tmp_path, GOOD.replace("format: debezium", "format: dms"))


def test_keys_and_types_of_records(tmp_path: Path) -> None:
    pipeline = loaded(tmp_path, GOOD.replace("trust: 3", "trust: 3\n      key: [id]\n      types: {born: date}"))
    assert pipeline.events.keys == {"public.customers": ("id",)}
    assert pipeline.events.debezium.types == {"public.customers": {"born": "date"}}


@pytest.mark.parametrize(
    ("was", "becomes", "named"),
    [
        ("normalize: email,", "normalize: fold,", "identifiers"),
        ("{phone: NO}", "{phone: SE}", "identifiers"),
        ("limit: 20", "limit: 21", "identifiers"),
        ("expires: 90d", "expires: 91d", "identifiers"),
        ("shared: 50", "shared: 51", "identifiers"),
        ('"anonymous", ', "", "blocked"),
        ("[email, old_email]", "[email]", "records.public.customers"),
        ("city: city}", "city: town}", "records.public.customers"),
        ("trust: 3", "trust: 4", "records.public.customers"),
        ("{sum: amount}", "{sum: price}", "records.public.orders"),
        ("time: created_at", "time: sent_at", "records.public.orders"),
        ("    public.web_visits:", "    public.visits:", "records"),
        ("city: latest", "city: most_frequent", "survivorship"),
        ("  blocked:", "  without_identifier: dead_letter\n  blocked:", "without_identifier"),
    ],
)
def test_whatever_decides_who_is_whom_is_a_rule(tmp_path: Path, was: str, becomes: str, named: str) -> None:
    before, now = loaded(tmp_path, GOOD).profiles, loaded(tmp_path, GOOD.replace(was, becomes, 1)).profiles
    assert before is not None and now is not None and before.rules == loaded(tmp_path, GOOD).job.rules
    assert named in {name for name in before.rules | now.rules if before.rules.get(name) != now.rules.get(name)}
    assert before.read_by != now.read_by


@pytest.mark.parametrize(
    ("was", "becomes"),
    [("  blocked:", "  ahead: 2d\n  blocked:"), ("trust: 3\n", "trust: 3\n      sweep: false\n")],
)
def test_what_decides_nothing_of_it_is_none(tmp_path: Path, was: str, becomes: str) -> None:
    before, now = loaded(tmp_path, GOOD).profiles, loaded(tmp_path, GOOD.replace(was, becomes, 1)).profiles
    assert before is not None and now is not None and before != now
    assert before.rules == now.rules
