"""The documentation is true: its commands run and print what it shows, its links lead somewhere, nothing is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
import typer
import yaml
from pydantic import BaseModel

from cli.main import commands as application
from core.config import file as config_file
from core.config import pipeline as config
from core.errors import ConfigError
from serving import settings as serving_settings
from serving.keys import Keys, read_keys
from stack.layout import free_ports, layout_of, remembered_ports
from stack.local import Stack
from tests import docs_tables
from tests.pages import PAGES, ROOT, anchors, blocks, commands, is_shown, links, prose
from tests.reader import Terminal

DOCS = ROOT / "docs"
FIRST = DOCS / "run-a-pipeline.md"
FOLLOWED = [
    DOCS / f"{name}.md"
    for name in (
        "search",
        "filters",
        "serve",
        "freshness",
        "answers",
        "mcp",
        "bundle",
        "remote-models",
        "dead-letters",
        "restart-and-recover",
        "pipeline-file",
        "local-stack",
        "produce",
        "opensearch",
        "milvus",
        "staged",
        "verify",
        "backfill",
        "upgrade",
        "after-a-restore",
        "profiles",
        "feedback",
        "operate",
        "many-pipelines",
        "parallelism",
    )
]
NUMBERS_VARY = {DOCS / "produce.md"}

WITH_AWS = {
    line: "run by tests/operations/test_produce_aws.py: the stack here has no AWS"
    for block in blocks(DOCS / "produce.md")
    if block.language == "bash"
    for line in block.text.splitlines()
}
FAR_AWAY = {
    line: f"{name}.md says that no Docker, Kubernetes or account of AWS's was there; tests/deploy checks the rest"
    for name in ("compose", "deploy-msf", "kubernetes", "sizing")
    for block in blocks(DOCS / f"{name}.md")
    if block.language == "bash"
    for line in block.text.splitlines()
}
ELSEWHERE = WITH_AWS | {
    "./freshet demo": "run by tests/demo/test_demo.py: it has a stack of its own and takes a minute",
    "./freshet demo s3": "as above",
    "./freshet demo dynamodb": "as above",
    "./freshet demo profiles": "as above",
    "./freshet demo feedback": "as above",
    "./freshet demo chat": "as above, with a model of the test's",
    "./freshet demo chat --answering-model http://127.0.0.1:11434/v1": "as above",
    "./freshet compose --rehearse": "run by tests/deploy/test_containers.py",
    "./freshet test": "this is it",
    "./freshet test --quick": "this is a part of it",
    "./freshet test tests/core -k position": "this is it",
    **{
        line: "run by the test of docs/run-a-pipeline.md"
        for block in blocks(ROOT / "README.md")
        if block.language == "bash"
        for line in block.text.splitlines()
    },
    "./freshet test --help": "run by hand: it makes .venv anew; tests/cli/test_launcher.py tests the steps",
    "export AWS_ACCESS_KEY_ID=demo AWS_SECRET_ACCESS_KEY=demo AWS_REGION=eu-central-1": "as the demo tells it",
    "freshet run .freshet/demo/s3.yaml": "resumes the demo's job; tests/flink_jobs/test_aws_feeds.py resumes such jobs",
    "freshet run .freshet/demo/pipeline.yaml": "the demo's pipeline; docs/run-a-pipeline.md has the same with its own",
    'freshet search .freshet/demo/pipeline.yaml "How do I catch an exception?"': "as above",
    "freshet bundle --with-model pipeline.yaml -o app.zip": "tests/deploy/test_rehearsal.py makes and runs such a one",
    "freshet stack down": "run by tests/stack/test_stack.py: other tests use the stack that this one has",
    "freshet bench --json figures.json": "run by tests/bench/test_bench.py with less of everything: it takes minutes",
    "freshet backfill handbook.yaml s3://handbook/docs": "run by tests/flink_jobs/test_backfill.py on another bucket",
    'psql "postgresql://freshet@127.0.0.1:5432/freshet?passfile=.freshet/stack/pgpass"': "psql isn't part of Freshet; "
    "the same string is used by all that the pages run",
    "source .venv/bin/activate": "sets the PATH, as the tests do",
    "git clone <this repository> && cd freshet": "names no address",
    **FAR_AWAY,
    "git pull": "would change the checkout under the tests",
    "./freshet --help": "makes .venv anew where the version is another one",
    "pre-commit install": "writes hooks into the checkout; tests/test_house.py checks their configuration",
}
"""Commands that aren't typed here, and why."""


def every_command() -> dict[str, click.Command]:
    """Each command by its full name, as in `stack up`."""
    found: dict[str, click.Command] = {}

    def walk(command: Any, name: str) -> None:
        if not hasattr(command, "list_commands"):
            found[name] = command
            return
        for part in command.list_commands(None):
            walk(command.get_command(None, part), f"{name} {part}".strip())

    walk(typer.main.get_command(application), "")
    return found


COMMANDS = every_command()
GROUPS = {name.split()[0] for name in COMMANDS if " " in name}
EVERYTHING = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def options(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts if option.startswith("-")} - {"--help"}


def named(line: str) -> str | None:
    """The command of ours that a line types, or None."""
    words = line.split()[1:3]
    return next((name for name in (" ".join(words), words[0]) if name in COMMANDS), None)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented_and_has_help(name: str) -> None:
    assert f"freshet {name}" in EVERYTHING
    command = COMMANDS[name]
    assert command.help
    without = [parameter.name for parameter in command.params if not getattr(parameter, "help", None)]
    assert without in ([], ["help"]), f"{name}: {without} have no help"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented(name: str) -> None:
    unknown = [
        option for option in options(COMMANDS[name]) if not re.search(rf"(?<![\w-]){option}(?![\w-])", EVERYTHING)
    ]
    assert unknown == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_shown_exists(page: Path) -> None:
    shown = [*commands(page), *re.findall(r"`((?:\./)?freshet [^`]+)`", prose(page))]
    for line in shown:
        if not re.match(r"(\./)?freshet [a-z]", line) or line.removeprefix("freshet ") in GROUPS:
            continue
        name = named(line)
        assert name is not None, f"{line}: no such command"
        typed = set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", line)) - {"--help"}
        # what test doesn't know is pytest's
        assert name == "test" or typed <= options(COMMANDS[name]), f"{line}: {name} has {options(COMMANDS[name])}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (page.parent / parts.path) if parts.path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not parts.fragment or parts.fragment in anchors(target), f"{page.name} links to {link}"


def test_every_page_is_reached_from_the_readme() -> None:
    linked = {(ROOT / link).resolve() for link in links(ROOT / "README.md")}
    assert [page.name for page in DOCS.glob("*.md") if page.resolve() not in linked] == []


def test_the_readme_says_what_freshet_is_in_three_sentences() -> None:
    paragraph = (ROOT / "README.md").read_text(encoding="utf-8").split("\n\n")[1]
    assert len(re.findall(r"[.!?](?:\s|$)", paragraph)) == 3


@pytest.mark.parametrize("page", [page for page in PAGES if docs_tables.tables_in(page)], ids=lambda page: page.name)
def test_tables_say_what_code_has(page: Path) -> None:
    same = page.read_text(encoding="utf-8") == docs_tables.made(page)
    assert same, f"{page.relative_to(ROOT)} differs from the code that a table of it lists: {docs_tables.COMMAND}"


def test_each_table_that_is_made_stands_in_one_page() -> None:
    assert sorted(name for page in PAGES for name in docs_tables.tables_in(page)) == sorted(docs_tables.TABLES)


OF_OTHER_FILES = (
    "broken.yaml",
    "serve.yaml",
    "serve-by-tokens.yaml",
    "serve-with-answers.yaml",
    "keys-with-defaults.yaml",
    "keys-by-hand.yaml",
)
PIPELINES = [
    block.text
    for page in PAGES
    for block in blocks(page)
    if block.language == "yaml" and block.title not in OF_OTHER_FILES and page.name != "answers.md"
]


@pytest.mark.parametrize("text", PIPELINES)
def test_every_pipeline_file_loads(text: str, tmp_path: Path) -> None:
    """Where only a part is shown, it stands in place of the same part of a whole one."""
    whole = yaml.safe_load(next(text for text in PIPELINES if text.startswith("name:") and "documents:" in text))
    path = tmp_path / "pipeline.yaml"
    part = yaml.safe_load(text)
    if {"profiles", "feedback"} & part.keys():
        del whole["documents"]
    if "feedback" in part:
        del whole["embedding"]
    path.write_text(yaml.safe_dump({**whole, **part}), encoding="utf-8")
    config_file.load(path, dict.fromkeys(("PASSWORD", "KAFKA_JAAS", "MODEL_KEY", "PINECONE_API_KEY"), "x"))


def test_the_broken_one_does_not(tmp_path: Path) -> None:
    (block,) = (block for block in blocks(DOCS / "pipeline-file.md") if block.title == "broken.yaml")
    (tmp_path / "broken.yaml").write_text(block.text, encoding="utf-8")
    with pytest.raises(ConfigError):
        config_file.load(tmp_path / "broken.yaml")


def settings(model: type[BaseModel], place: str = "") -> Iterator[str]:
    """The settings that hold values, as the page writes their places: `documents.….text`."""
    for name, field in model.model_fields.items():
        here = f"{place}{field.alias or name}"
        inner = [
            kind for kind in (field.annotation, *getattr(field.annotation, "__args__", ())) if isinstance(kind, type)
        ]
        models = [kind for kind in inner if issubclass(kind, BaseModel)]
        if not models:
            yield here
        for kind in models:
            by_name = here in ("documents", "profiles.records", "feedback.kpis", "indexes", "keys")
            yield from settings(kind, f"{here}.….") if by_name else settings(kind, f"{here}.")


@pytest.mark.parametrize("setting", list(settings(config.Pipeline)))
def test_every_setting_has_its_line(setting: str) -> None:
    assert f"| `{setting}` |" in (DOCS / "pipeline-file.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("setting", [*settings(serving_settings.Settings), *settings(Keys)])
def test_every_setting_of_a_server_has_its_line(setting: str) -> None:
    lines = "".join((DOCS / page).read_text(encoding="utf-8") for page in ("serve.md", "answers.md"))
    assert f"| `{setting}` |" in lines


def test_the_parts_of_a_servers_file_load(tmp_path: Path) -> None:
    """Each stands in place of the same part of a whole one."""
    shown = [block for block in blocks(DOCS / "answers.md") if block.language == "yaml"]
    for block in shown:
        (tmp_path / "keys.yaml").write_text(block.text if block.title.startswith("keys") else "keys:", encoding="utf-8")
        read_keys(tmp_path / "keys.yaml")
    parts = [yaml.safe_load(block.text) for block in shown if not block.title.startswith("keys")]
    assert len(parts) > 3
    for part in parts:
        whole = {"name": "helpdesk", "indexes": {"articles": {"pipeline": "pipeline.yaml"}}, **part}
        (tmp_path / "serve.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
        manual, environment = config_file.Manual("", "", ""), {"LLM_KEY": "x", "RERANK_KEY": "x"}
        config_file.checked(tmp_path / "serve.yaml", serving_settings.Settings, manual, environment)


def test_the_servers_files_load(tmp_path: Path) -> None:
    for block in blocks(DOCS / "serve.md"):
        if block.title.endswith(".yaml"):
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
    assert set(read_keys(tmp_path / "keys-by-hand.yaml").keys) == {"acme"}
    with pytest.raises(ConfigError) as refused:
        serving_settings.read(tmp_path / "serve.yaml")
    assert [each.partition(".yaml: ")[2].partition(" is ")[0] for each in refused.value.problems] == [
        "indexes.articles.pipeline",
        "keys",
    ]
    with pytest.raises(ConfigError) as refused:
        serving_settings.read(tmp_path / "serve-by-tokens.yaml")
    (problem,) = refused.value.problems
    assert "indexes.articles.pipeline is " in problem


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_shown_is_run_somewhere(page: Path) -> None:
    if page in (FIRST, *FOLLOWED):
        typed = [line for block in blocks(page) if block.language == "bash" for line in block.text.splitlines()]
    else:
        typed = commands(page)
    assert [line for line in typed if line not in ELSEWHERE] == []


@pytest.fixture(scope="module")
def terminal(own_stack: Stack) -> Iterator[Terminal]:
    """A folder in which the first page was followed to its end."""
    folder = own_stack.folder.parents[1]
    (folder / "tests").symlink_to(ROOT / "tests")
    remembered = remembered_ports(layout_of(folder))
    assert remembered is not None
    free = free_ports()
    model, asked = free.postgres, free.kafka
    addresses = {
        "127.0.0.1:9092": own_stack.kafka.bootstrap_servers,
        "freshet@127.0.0.1:5432": own_stack.postgres.dsn.removeprefix("postgresql://").partition("/")[0],
        "http://127.0.0.1:8083": own_stack.connect.url,
        "127.0.0.1:9200": f"127.0.0.1:{remembered.opensearch}",
        "127.0.0.1:8080": f"127.0.0.1:{model}",
        "--port 8080": f"--port {model}",
        "127.0.0.1:8090": f"127.0.0.1:{asked}",
        "--port 8090": f"--port {asked}",
    }
    terminal = Terminal(folder, addresses)
    try:
        terminal.follow(FIRST)
        yield terminal
    finally:
        terminal.close()


@pytest.mark.timeout(1200)
def test_the_first_page_can_be_followed(terminal: Terminal) -> None:
    assert (terminal.folder / ".freshet" / "pipelines" / "articles").is_dir()


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.name)
def test_the_other_pages_can_be_followed(terminal: Terminal, page: Path) -> None:
    terminal.follow(page, numbers_vary=page in NUMBERS_VARY)


@pytest.mark.parametrize(
    ("shown", "printed", "right"),
    [
        (("a …", "c"), "a b\nx\nc", True),
        (("a", "c"), "c\na", False),
        (("a",), "ab", False),
        (("3 rows",), "4 rows", False),
        (("│ x │ …",), "│   x   │ 12 │", True),
    ],
)
def test_what_is_shown_is_compared(shown: tuple[str, ...], printed: str, right: bool) -> None:
    assert is_shown(shown, printed) is right
