"""`freshet demo chat`: two jobs, a server and a small model, and a help desk that asks them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console

from core.config.file import load
from core.errors import Unavailable
from demo import screen
from demo.chat import helpdesk
from demo.chat.asking import Asker
from demo.chat.claims import CLAIMS, Scene
from demo.chat.helpdesk import CUSTOMER, HelpDesk
from demo.chat.model import ChatModel, model_at, small_model
from demo.chat.processes import Running, running
from demo.stage import Evidence
from operations.job_file import home
from stack import local as stack
from terminal.plain import shown

_SNAPSHOT_SECONDS = 600.0
_SERVES_WITHIN_S = 300.0
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class _Served:
    """What is served, and where."""

    desk: HelpDesk
    url: str
    model: ChatModel


def play(console: Console, folder: Path, leave: bool, answering_model: str | None) -> int:
    """Run the demo; the command's exit code, 0 only where every claim held.

    answering_model: the address of a model behind OpenAI's protocol, up to `/v1`; None: a small one is installed.
    Raises FreshetError where a part of it doesn't come up.
    """
    say = _lines(console)
    with ExitStack() as parts:
        screen.section(console, "A model, PostgreSQL, Kafka and Debezium, on this machine")
        with console.status("starting the servers"):
            model = _model(folder, answering_model, say, parts)
            servers = stack.up(Path.cwd(), say)
        served = parts.enter_context(_served(console, servers, folder, model))
        claims = _perform(console, served, leave)
    say("The jobs stopped with savepoints; the servers go on.")
    if leave:
        screen.ended(console, claims, [("in all", time.time() - psutil.Process().create_time())])
    for command in (*(f"freshet run {file}" for file in served.desk.pipelines), f"freshet serve {served.desk.serve}"):
        console.print(f"  [bold]{shown(command)}[/]")
    return 0 if screen.held(claims) else 1


def _model(
    folder: Path, answering_model: str | None, say: Callable[[str], None], parts: ExitStack
) -> Callable[[], ChatModel]:
    if answering_model is not None:
        found = model_at(answering_model)
        return lambda: found
    return parts.enter_context(small_model(folder, say))


@contextmanager
def _served(console: Console, servers: stack.Stack, folder: Path, model: Callable[[], ChatModel]) -> Iterator[_Served]:
    """The jobs and the server, until the block ends."""
    with ExitStack() as parts:
        with console.status("loading the model"):
            answering = model()
        desk = parts.enter_context(closing(helpdesk.make(servers, folder, answering.url, answering.name)))
        for file in desk.pipelines:
            screen.pipeline_file(console, file)
            shutil.rmtree(home(load(file)), ignore_errors=True)
        screen.pipeline_file(console, desk.serve)
        runs = {f"job-{file.stem}": ["-m", "cli", "run", str(file)] for file in desk.pipelines}
        jobs = [parts.enter_context(running(name, command, folder)) for name, command in runs.items()]
        desk.begin()
        with console.status("waiting for the rows"):
            _wait(desk, jobs)
        serving = running("serve", ["-m", "cli", "serve", str(desk.serve), "--port", "0"], folder)
        server = parts.enter_context(serving)
        with console.status("starting the server"):
            url = server.url(_SERVES_WITHIN_S)
        console.print(f"  served at {url}, answers by {shown(answering.name)} at {shown(answering.url)}")
        yield _Served(desk, url, answering)


def _wait(desk: HelpDesk, jobs: list[Running]) -> None:
    deadline = time.monotonic() + _SNAPSHOT_SECONDS
    while not helpdesk.there(desk.world):
        for job in jobs:
            job.check()
        if time.monotonic() > deadline:
            logs = ", ".join(str(job.log) for job in jobs)
            raise Unavailable(f"the snapshot's rows aren't in the stores after {_SNAPSHOT_SECONDS:.0f} s; see {logs}")
        time.sleep(_LOOK_EVERY_S)


def _perform(console: Console, served: _Served, leave: bool) -> list[tuple[str, Evidence]]:
    keys = served.desk.keys
    with closing(Asker(served.url, keys["acme"])) as acme, closing(Asker(served.url, keys["beta"])) as beta:
        scene = Scene(console, served.desk, acme, beta, served.model)
        claims = screen.claims(console, CLAIMS, scene, "asking")
        if not leave:
            _prompt(console, served, acme)
    return claims


def _prompt(console: Console, served: _Served, acme: Asker) -> None:
    screen.section(console, "Ask it yourself")
    console.print(f"A page is at {served.url}, with the key {served.desk.keys['acme']}", soft_wrap=True)
    where = shown(served.desk.world.dsn)
    console.print(f"Change rows of {helpdesk.SCHEMA} at {where} meanwhile. Ctrl-C, or an empty line, ends it.")
    try:
        while question := console.input("[bold cyan]ask ›[/] ").strip():
            answer = acme.answer(question, CUSTOMER)
            console.print(shown(answer.text))
            for passage in answer.passages:
                console.print(f"  [dim]{shown(passage)}[/]")
    except (EOFError, KeyboardInterrupt):
        console.print()


def _lines(console: Console) -> Callable[[str], None]:
    return lambda line: console.print(f"  [dim]{shown(line)}[/]", soft_wrap=True)
