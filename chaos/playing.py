"""`freshet chaos`: the store equals the source, whatever dies. Real servers, real writers, and kill -9."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from random import Random
from uuid import uuid4

from rich.console import Console
from rich.text import Text

from chaos import aws as aws_server
from chaos import restored
from chaos import world as worlds
from chaos.compare import details, settle
from chaos.evidence import keep
from chaos.feeds import FEEDS
from chaos.job import Job
from chaos.patience import patience
from chaos.rounds import Round, Verdict, play
from chaos.strikes import Fault, possible
from chaos.world import ALL, vectors
from connectors.aws.client import Aws
from connectors.milvus import lite
from core.errors import FreshetError
from stack import local as stack
from stack.layout import free_ports
from terminal.plain import plain

ACT = 8
"""After so many rounds the database, topics and job are made anew: a job without state reads all topics again."""

_LATE = 3
"""The exit code of a run whose time was up while the job still got on, with no difference that stayed."""

_SHOWN = 3
_EVENTS_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Options:
    """What to run.

    feed        one of FEEDS
    first       the number of the first round
    stores      those to keep equal
    folder      where everything is kept; None: a temporary one, kept only where a round failed
    keep_going  go on after a difference
    faults      those that happen; (): all that can
    """

    seed: int
    rounds: int
    feed: str = "debezium"
    first: int = 1
    stores: tuple[str, ...] = ALL
    folder: Path | None = None
    keep_going: bool = False
    faults: tuple[Fault, ...] = ()


def chaos_stores(names: str | None, feed: str) -> tuple[str, ...]:
    """The stores that are named, with commas between them; None: those that the feed is usually run with.

    Raises FreshetError where one is none that the local stack has.
    """
    names = FEEDS[feed].stores if names is None else names
    chosen = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not chosen or not set(chosen) <= set(FEEDS[feed].of):
        raise FreshetError(f"--stores is {names!r}, must be of {','.join(FEEDS[feed].of)}")
    return chosen


def chaos_feed(name: str) -> str:
    """The feed that is named. Raises FreshetError where there is none of this name."""
    if name not in FEEDS:
        raise FreshetError(f"--feed is {name!r}, must be one of {', '.join(FEEDS)}")
    return name


def chaos_faults(names: str | None, feed: str, stores: Sequence[str]) -> tuple[Fault, ...]:
    """The faults that are named, with commas between them. Raises FreshetError where the feed has none of a name."""
    known = possible(FEEDS[feed].faults, stores)
    chosen = tuple(dict.fromkeys(name.strip() for name in (names or "").split(",") if name.strip()))
    for name in chosen:
        if name not in known:
            raise FreshetError(f"--fault is {name!r}, must be of {feed}'s: {', '.join(known)}")
    return tuple(Fault(name) for name in chosen)


def chaos(options: Options, console: Console) -> int:
    """Play the rounds; the command's exit code: 0 only where each held, 1 where one differed, 3 where one was late.

    Raises FreshetError where the stack, the connector or the job doesn't come up.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="freshet-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    held, code = False, 1
    try:
        played = _play(options, folder.resolve(), console)
        held = all(each.holds for each in played) and len(played) == options.rounds
        code = 0 if held else 1 if any(each.verdict is Verdict.DIFFERS for each in played) else _LATE
        _summary(options, played, console)
    finally:
        restored.stop(folder)
        lite.stop(vectors(folder))
        stack.down(folder, wipe=held)
        if held and options.folder is None:
            shutil.rmtree(folder)
        else:
            console.print(f"kept in {folder}")
    return code


def _play(options: Options, folder: Path, console: Console) -> list[Round]:
    extra = [stack.Extra.OPENSEARCH] if "opensearch" in options.stores else []
    with console.status("starting the servers"):
        servers = stack.up(folder, lambda _: None, ports=free_ports(), extra=extra)
    with aws_server.served(folder) if FEEDS[options.feed].needs_aws else nullcontext() as aws:
        return _acts(servers, aws, folder, options, console)


def _acts(servers: stack.Stack, aws: Aws | None, folder: Path, options: Options, console: Console) -> list[Round]:
    played: list[Round] = []
    settled_s: list[float] = []
    begin, end = options.first, options.first + options.rounds
    while begin < end:
        with _act(servers, aws, folder, options, begin, settled_s) as (world, job):
            for number in range(begin, min(begin + ACT, end)):
                with console.status(f"round {number}"):
                    faults = possible(FEEDS[options.feed].faults, options.stores, options.faults)
                    found = play(world, job, options.seed, number, faults, settled_s)
                played.append(found)
                _show(options, found, console)
                if not found.holds:
                    _explain(world, job, found, console)
                    if found.verdict is Verdict.DIFFERS and not options.keep_going:
                        return played
                    console.print(f"      kept in {keep(world, job, found, folder)}", soft_wrap=True)
                    # what differs now would differ in each round to come
                    break
                settled_s.append(found.found.seconds)
        worlds.end(world)
        begin = number + 1
    return played


@contextmanager
def _act(
    servers: stack.Stack, aws: Aws | None, folder: Path, options: Options, number: int, settled_s: list[float]
) -> Iterator[tuple[worlds.World, Job]]:
    name = f"chaos_{uuid4().hex[:6]}_{number}"
    choices = Random(f"{options.seed}/{number}/rows")
    made = worlds.make(servers, folder, name, options.stores, choices, FEEDS[options.feed].begin, aws)
    job = Job(made, folder)
    try:
        job.start()
        # the first round begins with a job that is at work
        settled_s.append(settle(made, patience(settled_s), job.ensure, job.read).seconds)
        yield made, job
    finally:
        job.kill()


def _show(options: Options, found: Round, console: Console) -> None:
    colours = {Verdict.EQUAL: "green", Verdict.LATE: "yellow", Verdict.DIFFERS: "bold red"}
    verdict = Text(found.verdict, colours[found.verdict])
    line = Text.assemble(
        f"{found.number:4}  ",
        verdict,
        f"  {found.changes} changes, {found.found.documents} {FEEDS[options.feed].makes}; ",
        f"{'; '.join(map(str, found.strikes))}; ",
        f"drained after {found.found.seconds:.1f} s, {found.seconds:.0f} s in all (seed {options.seed})",
    )
    console.print(line, soft_wrap=True)
    for note in found.notes:
        console.print(Text(f"      {plain(note)}", "yellow"), soft_wrap=True)


def _explain(world: worlds.World, job: Job, found: Round, console: Console) -> None:
    if found.found.waited_for:
        console.print(Text(f"      waited in vain: {plain(found.found.waited_for)}", "red"), soft_wrap=True)
    for each in found.wrong:
        console.print(Text(f"      {plain(each)}", "red"), soft_wrap=True)
    for letter in found.letters:
        fields = {**letter.details}
        where = f"{fields.get('source.topic')} {fields.get('source.partition')}:{fields.get('source.offset')}"
        error = f"{fields.get('error.class')}: {fields.get('reason')}"
        line = f"      dead letter of {fields.get('document')} from {where}: {error}"
        console.print(Text(plain(line), "red"), soft_wrap=True)
    for store, difference in found.found.differences:
        line = f"      {difference.kind} in {store}: {difference.document_id}: {difference.what}"
        console.print(Text(plain(line), "red"), soft_wrap=True)
    documents = dict.fromkeys(each.document_id for _, each in found.found.differences)
    for document in sorted(documents, key=world.feed.markers.__contains__)[:_SHOWN]:
        known = details(world, document)
        for name, ledger in known.ledgers.items():
            console.print(Text(f"      {plain(document)}: ledger of {name}: {plain(ledger)}"), soft_wrap=True)
        for event in known.events[-_EVENTS_SHOWN:]:
            console.print(Text(f"        {plain(event)}"), soft_wrap=True)
    console.print(Text(f"      the job: {plain(job.last_lines(), lines=True)}"), soft_wrap=True)


def _summary(options: Options, played: list[Round], console: Console) -> None:
    faults = Counter(strike.fault for each in played for strike in each.strikes)
    wrong = [each for each in played if each.verdict is Verdict.DIFFERS]
    late = [each for each in played if each.verdict is Verdict.LATE]
    console.print(
        f"\n{options.feed}, seed {options.seed}: {len(played)} rounds, {sum(each.changes for each in played):,} changes"
    )
    struck = ", ".join(f"{count} {fault}" for fault, count in faults.most_common())
    console.print(f"faults: {struck}", soft_wrap=True)
    differences = sum(len(each.found.differences) for each in wrong)
    letters = sum(len(each.letters) for each in wrong)
    colour = "red" if wrong else "green"
    failed = f" in rounds {', '.join(str(each.number) for each in wrong)}" if wrong else ""
    console.print(f"[{colour}]{differences} differences, {letters} dead letters{failed}[/]")
    if late:
        numbers = ", ".join(str(each.number) for each in late)
        console.print(f"[yellow]late, so not known: rounds {numbers}[/]; the job still got on when time was up")
