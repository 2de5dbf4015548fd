"""What the one writer of profiles does a second: linking and merging, with the state's bytes written and read back.

    python bench/identity.py [--people 5000]

No stream and no store: what is measured is `core.profiles.step` over a dict of bytes. Changes are of customers (with
e-mail and phone), their orders and their visits, in any order; then an e-mail is corrected, an order goes. After that
the awkward ones, and beside each what an ordinary change costs meanwhile: a phone on 100,000 customers, a device with
100,000 visits, a customer with 1,000 devices, and a device beyond its profile's limit.
"""

from __future__ import annotations

import argparse
import gc
import random
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from statistics import median
from time import perf_counter

from core.change import Position
from core.identity.identifiers import Identifier
from core.identity.linking import RecordChange
from core.identity.rules import IdentifierRule, Rules
from core.identity.state import Memory
from core.profiles.merging import Fact, Facts, Rule, facts_to_bytes
from core.profiles.step import Persons

LINKING = Rules(
    [
        IdentifierRule("customer_id", 1, 10**9),
        IdentifierRule("email", 5),
        IdentifierRule("phone", 5),
        IdentifierRule("device", 1000),
    ],
    {"customers": 3, "orders": 0, "visits": 1},
)
MERGING = {
    "name": Rule("most_trusted"),
    "city": Rule("latest"),
    "language": Rule("most_frequent"),
    "spent": Rule("sum"),
    "orders": Rule("count"),
    "last_order": Rule("latest"),
}

_positions = iter(range(10**9))


def change(record: str, held: dict[str, object], facts: dict[str, object], deleted: bool = False) -> RecordChange:
    number = next(_positions)
    position = Position(f"{number:012}")
    identifiers = tuple(Identifier(kind, str(value)) for kind, value in held.items())
    said: Facts = {name: Fact((0, number, position, record), value) for name, value in facts.items()}
    table = record.partition("/")[0]
    return RecordChange(record, table, position, number, identifiers, facts_to_bytes(said), deleted)


def customer(key: int, email: str = "", phone: object = None) -> RecordChange:
    held = {"customer_id": key, "email": email or f"{key}@example.org", "phone": phone or f"+47{key:08}"}
    return change(f"customers/{key}", held, {"name": f"Person {key}", "city": f"Town {key % 97}"})


def order(number: int, key: int, deleted: bool = False) -> RecordChange:
    facts = {"spent": f"{number % 900}.95", "orders": True, "last_order": f"2026-01-{number % 28 + 1:02}"}
    return change(f"orders/{number}", {"customer_id": key}, facts, deleted)


def visit(number: int, device: object, email: str = "") -> RecordChange:
    held: dict[str, object] = {"device": device, "email": email} if email else {"device": device}
    return change(f"visits/{number}", held, {"language": ("no", "en")[number % 2]})


def history(people: int, source: random.Random) -> list[Callable[[], RecordChange]]:
    """For each person a customer, three orders and four visits, two of them logged in; then a few corrections."""
    changes: list[Callable[[], RecordChange]] = []
    for key in range(people):
        changes.append(partial(customer, key))
        changes += [partial(order, 3 * key + at, key) for at in range(3)]
        changes += [partial(visit, 4 * key + at, f"d{key}", f"{key}@example.org") for at in range(2)]
        changes += [partial(visit, 4 * key + at, f"d{key}") for at in range(2, 4)]
    source.shuffle(changes)
    changes += [partial(customer, key, f"{key}@new.example.org") for key in range(0, people, 5)]
    changes += [partial(order, 3 * key, key, deleted=True) for key in range(0, people, 5)]
    return changes


def timed(persons: Persons, changes: Iterable[RecordChange]) -> list[float]:
    """The seconds of each step; without the walks of the garbage collector over a dict that Flink would not have."""
    gc.freeze()
    seconds = []
    for each in changes:
        started = perf_counter()
        persons.step(each)
        seconds.append(perf_counter() - started)
    return seconds


def batched(persons: Persons, changes: Iterable[RecordChange], size: int = 100) -> list[float]:
    """The seconds of each change, in batches."""
    every = list(changes)
    seconds = []
    for at in range(0, len(every), size):
        started = perf_counter()
        persons.steps(every[at : at + size])
        seconds += [(perf_counter() - started) / size] * size
    return seconds


def show(name: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    p99 = ordered[int(len(ordered) * 0.99)] * 1000
    rate = len(seconds) / sum(seconds)
    times = f"p50 {median(seconds) * 1000:7.2f} ms   p99 {p99:7.2f} ms   max {ordered[-1] * 1000:7.1f} ms"
    print(f"{name:44} {rate:8,.0f}/s   {times}", flush=True)


def ordinary(people: int, source: random.Random) -> Iterator[RecordChange]:
    for _ in range(500):
        key = source.randrange(people)
        yield order(3 * key + 1, key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=5000)
    parser.add_argument("--many", type=int, default=100_000)
    given = parser.parse_args()
    people, many, source = given.people, given.many, random.Random(1)
    store = Memory()
    persons = Persons(store, LINKING, MERGING)
    show("all changes of ordinary people", timed(persons, (make() for make in history(people, source))))
    size = sum(len(key) + len(value) for key, value in store.items())
    print(f"state: {size / people:,.0f} bytes a profile of 8 records and 4 identifiers")
    show(
        f"a phone on {many:,} customers",
        timed(persons, (customer(10**7 + at, phone="+4780080000") for at in range(many))),
    )
    show("  an ordinary change then", timed(persons, ordinary(people, source)))
    show(
        "  a customer of that phone goes, or comes",
        timed(persons, (customer(10**7 + at, phone="+4780080001") for at in range(500))),
    )
    show(f"a device with {many:,} visits", timed(persons, (visit(10**8 + at, "kiosk") for at in range(many))))
    show(
        "  its latest visit goes",
        timed(persons, (change(f"visits/{10**8 + many - at}", {}, {}, True) for at in range(1, 200))),
    )
    show("  an ordinary change then", timed(persons, ordinary(people, source)))
    devices = [
        change(f"visits/a{at}", {"customer_id": 1, "device": f"many{at}"}, {"language": "no"}) for at in range(1000)
    ]
    show("a customer with 1,000 devices", timed(persons, devices))
    more = (change(f"visits/b{at}", {"customer_id": 1, "device": f"many{at}"}, {"language": "en"}) for at in range(100))
    show("  another visit of it", timed(persons, more))
    again = (
        change(f"visits/d{at}", {"customer_id": 1, "device": f"many{at}"}, {"language": "en"}) for at in range(500)
    )
    show("  the same, 100 a batch", batched(persons, again))
    show("  ordinary changes, 100 a batch", batched(persons, ordinary(people, source)))
    gone = (change(f"visits/a{at}", {}, {}, True) for at in range(0, 200, 2))
    show("  a device of it goes", timed(persons, gone))
    over = [change(f"visits/c{at}", {"customer_id": 2, "device": f"over{at}"}, {"language": "no"}) for at in range(990)]
    limited = Persons(Memory(), Rules([*LINKING.identifiers[:3], IdentifierRule("device", 20)], LINKING.trust), MERGING)
    show("a customer with 990 devices, of which 20 may", timed(limited, over))
    show("  an ordinary change then", timed(persons, ordinary(people, source)))


if __name__ == "__main__":
    main()
