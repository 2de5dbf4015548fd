"""Real servers for every test that asks for them; the time that each folder takes."""

import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from operations.signals import handlers_given_back
from stack import local as local_stack
from tests import aws, budgets, resident, shared
from tests.connectors import servers

# How long an example takes tells of the machine and of what else it does.
settings.register_profile("freshet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("freshet")

LONGEST = (
    "tests/deploy/test_rehearsal.py",
    "tests/test_docs.py",
    "tests/demo/test_demo.py",
    "tests/deploy/test_containers.py",
    "tests/deploy/test_application.py",
    "tests/flink_jobs/test_vectorize.py",
    "tests/chaos/test_chaos.py",
    "tests/flink_jobs/test_settling.py",
    "tests/flink_jobs/test_aws_feeds.py",
    "tests/stack/test_stack.py",
    "tests/flink_jobs/test_profiles.py",
    "tests/flink_jobs/test_two_stores.py",
)
"""Files of two minutes and more beside others at work, the longest first."""
_WHOLE = {"workshop", "own_stack"}
_LONG_S = 300
_SERVERS = {"workshop", "stack", "own_stack", "opensearch_server"}
_spent: Counter[str] = Counter()
_yardsticks: list[float] = []


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> local_stack.Stack:
    """PostgreSQL with pgvector, Kafka and Kafka Connect, without data at the start, for all tests of a run."""
    return shared.stack(shared.folder_of(pytestconfig))


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local_stack.Stack]:
    """The same for one module's tests: they stop servers, or look at all that one has."""
    directory = tmp_path_factory.mktemp("stack")
    try:
        yield local_stack.up(directory, ports=local_stack.free_ports())
    finally:
        local_stack.down(directory, wipe=True)


@pytest.fixture(scope="session")
def opensearch_server(pytestconfig: pytest.Config) -> servers.Server:
    """OpenSearch alone, for the tests of stores and of jobs that write to it; none of them stops it."""
    return shared.opensearch(shared.folder_of(pytestconfig))


@pytest.fixture(scope="session", autouse=True)
def residents() -> Iterator[None]:
    """Processes that run commands for tests, and what plays AWS for them, end with them."""
    yield
    resident.end_all()
    aws.end_all()


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder of the servers that the processes share."""
    # a shell begins what it puts into the background with interrupts ignored, and tests interrupt their processes
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if _gathers(config):
        shared.begin(config)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process of pytest-xdist the folder."""
    node.workerinput[shared.FOLDER_KEY] = str(shared.folder_of(node.config))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the shared servers, once every process has ended."""
    if _gathers(config):
        shared.end(config)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs a job, which `freshet test --quick` leaves out; have the files that take long begin first.

    A process takes the next file when it has ended one: a long one among the last would leave the others nothing.
    """
    for item in items:
        if _WHOLE & set(getattr(item, "fixturenames", ())) or _takes_long(item):
            item.add_marker("jobs")
    serving = {item.path for item in items if _SERVERS & set(getattr(item, "fixturenames", ()))}
    ranks = {budgets.ROOT / file: rank for rank, file in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks) + (item.path not in serving)))


def _takes_long(item: pytest.Item) -> bool:
    """Whether it is given as much time as there is, or more: demos, rehearsals, pages that are followed."""
    given = item.get_closest_marker("timeout")
    return given is not None and given.args[0] >= _LONG_S


def pytest_sessionstart(session: pytest.Session) -> None:
    """Measure the machine before the tests, in the process that gathers their times."""
    if _gathers(session.config):
        _yardsticks.append(budgets.yardstick())


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up each folder's time."""
    _spent[budgets.folder_of(report.nodeid)] += report.duration  # type: ignore[assignment]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell each folder's time, and which have passed their budgets."""
    terminalreporter.section("time of each folder")
    for line in (*budgets.table(_spent, _allowed()), *_too_slow()):
        terminalreporter.line(line)


# Last of all, so that nothing sets the exit code after it.
@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail where a folder has passed its budget."""
    if not _gathers(session.config):
        return
    _yardsticks.append(budgets.yardstick())
    if session.exitstatus == pytest.ExitCode.OK and _too_slow():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _gathers(config: pytest.Config) -> bool:
    return not hasattr(config, "workerinput")


def _allowed() -> dict[str, float]:
    return budgets.budgets((budgets.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))


def _too_slow() -> list[str]:
    return budgets.passed(_spent, _allowed(), max(_yardsticks, default=0.0) / budgets.REFERENCE_S)


@pytest.fixture(autouse=True)
def signals_stay() -> Iterator[None]:
    """What a test does to the signals that stop a process ends with it: else a later one couldn't be interrupted."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with handlers_given_back():
        yield
    signal.pthread_sigmask(signal.SIG_SETMASK, held)
