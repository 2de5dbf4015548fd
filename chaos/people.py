"""What the writers of a round do to the tables that tell of persons, chosen by seed alone.

Few enough people that they meet, part, share what they shouldn't and break limits. As in `chaos.writers` a plan
never looks at the database.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import LiteralString

from chaos.writers import Statement, Transaction

TABLES = ("public.customers", "public.accounts", "public.orders", "public.conversations", "public.web_visits")

CREATE: tuple[LiteralString, ...] = (
    "CREATE TABLE customers (id int PRIMARY KEY, name text, email text, phone text, city text)",
    "CREATE TABLE accounts (id int PRIMARY KEY, customer_id int, email text, nickname text)",
    """CREATE TABLE orders
       (id int PRIMARY KEY, customer_id int, email text, amount numeric(10,2), created_at text)""",
    "CREATE TABLE conversations (id int PRIMARY KEY, email text, phone text, opened_at text)",
    "CREATE TABLE web_visits (id int PRIMARY KEY, device text, login_email text, lang text, visited_at text)",
)

_PEOPLE = 40
_PUT: dict[str, LiteralString] = {
    "customers": """INSERT INTO customers VALUES (%s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET
        name = EXCLUDED.name, email = EXCLUDED.email, phone = EXCLUDED.phone, city = EXCLUDED.city""",
    "accounts": """INSERT INTO accounts VALUES (%s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET
        customer_id = EXCLUDED.customer_id, email = EXCLUDED.email, nickname = EXCLUDED.nickname""",
    "orders": """INSERT INTO orders VALUES (%s, %s, %s, %s::numeric, %s) ON CONFLICT (id) DO UPDATE SET
        customer_id = EXCLUDED.customer_id, email = EXCLUDED.email, amount = EXCLUDED.amount,
        created_at = EXCLUDED.created_at""",
    "conversations": """INSERT INTO conversations VALUES (%s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET
        email = EXCLUDED.email, phone = EXCLUDED.phone, opened_at = EXCLUDED.opened_at""",
    "web_visits": """INSERT INTO web_visits VALUES (%s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE SET
        device = EXCLUDED.device, login_email = EXCLUDED.login_email, lang = EXCLUDED.lang,
        visited_at = EXCLUDED.visited_at""",
}
_DELETE: dict[str, LiteralString] = {
    "customers": "DELETE FROM customers WHERE id = %s",
    "accounts": "DELETE FROM accounts WHERE id = %s",
    "orders": "DELETE FROM orders WHERE id = %s",
    "conversations": "DELETE FROM conversations WHERE id = %s",
    "web_visits": "DELETE FROM web_visits WHERE id = %s",
}
_TRUNCATE: tuple[LiteralString, ...] = (
    "TRUNCATE orders",
    "TRUNCATE web_visits",
    "TRUNCATE accounts, conversations",
    "TRUNCATE customers",
)
_MOVE: LiteralString = """
    UPDATE customers SET id = %s WHERE id = %s AND NOT EXISTS (SELECT 1 FROM customers WHERE id = %s)"""
_ROWS = {"customers": 50, "accounts": 60, "orders": 150, "conversations": 50, "web_visits": 120}


def plans(choices: Random, writers: int, seconds: float) -> list[list[Transaction]]:
    """What each of the writers does in about `seconds`."""
    return [_plan(Random(choices.getrandbits(64)), seconds) for _ in range(writers)]


def _plan(choices: Random, seconds: float) -> list[Transaction]:
    plan: list[Transaction] = []
    planned = 0.0
    while planned < seconds:
        wait = choices.expovariate(1 / 0.01)
        hold = choices.uniform(0.2, 1.2) if choices.random() < 0.03 else 0.0
        statements = tuple(_truncate(choices) if choices.random() < 0.004 else _work(choices))
        plan.append(Transaction(statements, wait, hold, choices.random() > 0.06))
        planned += wait + hold + 0.005 * len(statements)
    return plan


def _work(choices: Random) -> Iterator[Statement]:
    for _ in range(choices.choice((1, 1, 1, 2, 3, 8))):
        kind = choices.random()
        if kind < 0.55:
            yield _put(choices)
        elif kind < 0.7:
            yield from _edit(choices)
        elif kind < 0.85:
            table = choices.choice(list(_DELETE))
            yield Statement(_DELETE[table], (_key(choices, table),))
        elif kind < 0.95:
            to = _key(choices, "customers")
            yield Statement(_MOVE, (to, _key(choices, "customers"), to))
        else:
            yield Statement(
                "UPDATE customers SET city = %s WHERE id = %s", (_city(choices), _key(choices, "customers"))
            )


def _edit(choices: Random) -> Iterator[Statement]:
    """An address is corrected, a phone given up, an order assigned."""
    yield choices.choice(
        (
            Statement("UPDATE customers SET email = %s WHERE id = %s", (_email(choices), _key(choices, "customers"))),
            Statement("UPDATE customers SET phone = NULL WHERE id = %s", (_key(choices, "customers"),)),
            Statement("UPDATE orders SET email = %s WHERE id = %s", (_email(choices), _key(choices, "orders"))),
            Statement("UPDATE orders SET customer_id = %s WHERE id = %s", (_known(choices), _key(choices, "orders"))),
            Statement(
                "UPDATE web_visits SET login_email = %s WHERE id = %s", (_email(choices), _key(choices, "web_visits"))
            ),
        )
    )


def _put(choices: Random) -> Statement:
    table = choices.choices(list(_PUT), (3, 2, 4, 2, 4))[0]
    key, email = _key(choices, table), _email(choices)
    when = f"2025-{choices.randint(1, 12):02}-{choices.randint(1, 28):02}T{choices.randint(0, 23):02}:00:00Z"
    amount = f"{choices.randint(-999, 99_999) / 100:.2f}"
    values = {
        "customers": (key, f"name {choices.randint(1, 9)}", email, _phone(choices), _city(choices)),
        "accounts": (key, _known(choices), email, f"nick {choices.randint(1, 9)}"),
        "orders": (key, _known(choices), email, None if choices.random() < 0.05 else amount, when),
        "conversations": (key, email, _phone(choices), when),
        "web_visits": (key, f"d{choices.randint(1, _PEOPLE // 2)}", email, choices.choice(("no", "en", None)), when),
    }
    return Statement(_PUT[table], values[table])


def _key(choices: Random, table: str) -> int:
    return choices.randint(1, _ROWS[table])


def _known(choices: Random) -> int | None:
    return None if choices.random() < 0.4 else _key(choices, "customers")


def _email(choices: Random) -> str | None:
    kind = choices.random()
    if kind < 0.1:
        return None
    return "nobody@example.com" if kind < 0.13 else f"P{choices.randint(1, _PEOPLE)}@example.com"


def _phone(choices: Random) -> str | None:
    return None if choices.random() < 0.3 else f"90 00 00 {choices.randint(1, _PEOPLE):02}"


def _city(choices: Random) -> str:
    return choices.choice(("Oslo", "Bergen", "Tromsø", "Ålesund"))


def _truncate(choices: Random) -> Iterator[Statement]:
    yield Statement(choices.choice(_TRUNCATE))
    for _ in range(choices.randint(3, 12)):
        yield _put(choices)


def fill(choices: Random) -> Transaction:
    """Rows to begin with."""
    return Transaction(tuple(_put(choices) for _ in range(250)), 0, 0, True)
