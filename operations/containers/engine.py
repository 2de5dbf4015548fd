"""Containers without an engine: each service's processes in a root of its own, on a network that is only theirs."""

from __future__ import annotations

import fcntl
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from core.errors import Unavailable
from operations.containers import names, roots
from operations.containers.compose_file import Service, Volume
from operations.containers.images import ROOT, Image, kept

Report = Callable[[str], object]
_SET_FLAGS, _UP = 0x8914, 0x1 | 0x8 | 0x40  # SIOCSIFFLAGS; IFF_UP, IFF_LOOPBACK and IFF_RUNNING: netdevice(7)
_ASKED_EVERY_S = 0.5
_REPORTED_EVERY_S = 20.0
_PATIENCE = 3
"""How many times as long as Compose a service is waited for: all begin on one machine, beside what else it does."""
_LAST_LINES = 20


@dataclass(frozen=True)
class Container:
    """One that was started."""

    service: Service
    image: Image
    root: roots.Root
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes]
    log: Path

    def run(self, command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        """As `docker compose exec`: a command in the container, and what it said. Raises TimeoutExpired."""
        return subprocess.run(
            self.root.words(self.image.folder, command), env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False,
        )  # fmt: skip

    def is_well(self) -> bool:
        """Whether its health check says so."""
        try:
            return self.run(self.service.health.command, self.service.health.timeout_s).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def stop(self) -> int:
        """End it as `docker compose stop` does: the exit code."""
        self.process.terminate()
        try:
            return self.process.wait(self.service.grace_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


class Engine:
    """Starts services in their order. `folder`: where their files lie; `secrets`: texts by their names."""

    def __init__(self, folder: Path, secrets: Mapping[str, str], report: Report) -> None:
        self._folder = folder
        self._secrets = secrets
        self._report = report
        self._began = time.monotonic()
        self._addresses: dict[str, str] = {}
        self._wells: dict[str, Future[Container]] = {}
        self._stopping = threading.Event()
        self.running: dict[str, Container] = {}

    def up(self, services: Sequence[tuple[Service, Image]]) -> None:
        """As `docker compose up --wait`: each service when those that it waits for are well, until all are.

        Raises Unavailable where one ends, or isn't well in time; KeyError where one waits for what isn't among them.
        """
        _network_up()
        (self._folder / "mounts").mkdir()
        roots.mount("-t", "tmpfs", "tmpfs", str(self._folder / "mounts"))
        self._addresses = {each.name: names.address(number) for number, (each, _) in enumerate(services, start=1)}
        names.serve(self._addresses)
        with ThreadPoolExecutor(len(services)) as threads:
            self._wells = {each.name: Future() for each, _ in services}
            pending = {threads.submit(self._start, *each) for each in services}
            try:
                while pending:
                    done, pending = wait(pending, _REPORTED_EVERY_S, FIRST_COMPLETED)
                    for each in done:
                        each.result()
                    if not done:
                        self._report(f"{self.seconds():.0f} s after the start, not well yet: {self._unwell()}")
            except BaseException:
                self._stopping.set()
                raise

    def _unwell(self) -> str:
        return ", ".join(name for name in self.running if not self._wells[name].done())

    def down(self) -> None:
        """End what runs, those first that were started last."""
        for container in reversed(self.running.values()):
            code = container.stop()
            self._report(f"{container.service.name} stopped, exit code {code}")

    def seconds(self) -> float:
        """Since the engine was made."""
        return time.monotonic() - self._began

    def _start(self, service: Service, image: Image) -> None:
        well = self._wells[service.name]
        try:
            for other in service.after:
                self._wells[other].result()
            container = self._made(service, image)
            self.running[service.name] = container
            self._wait(container)
            well.set_result(container)
        except BaseException as error:
            well.set_exception(error)
            raise
        self._report(f"{service.name} is well, {self.seconds():.1f} s after the start")

    def _made(self, service: Service, image: Image) -> Container:
        root = roots.make(self._folder / "mounts" / service.name, image.user, [*kept(), ROOT], self._folder)
        self._furnish(root, service, image)
        environment = {**image.environment, **service.environment}
        environment.setdefault("HOME", "/tmp")
        log = self._folder / "logs" / f"{service.name}.log"
        command = [*(service.entrypoint or image.entrypoint), *(service.command or image.command)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                root.words(image.folder, command), env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        return Container(service, image, root, environment, process, log)

    def _furnish(self, root: roots.Root, service: Service, image: Image) -> None:
        root.put("/etc/resolv.conf", f"nameserver {names.SERVER}\n")
        # as in a container, where the name of the machine is the container's
        root.put("/etc/hosts", f"127.0.0.1 localhost\n{self._addresses[service.name]} {socket.gethostname()}\n")
        root.at(image.folder).mkdir(parents=True, exist_ok=True)
        for path, source in image.binds.items():
            root.bind(path, source)
        for path, source in image.links.items():
            root.link(path, source)
        for path, text in image.scripts.items():
            root.put(path, text, 0o755)
        for each in service.mounts:
            match each.content:
                case str(text):
                    root.put(each.target, text)
                case Path() as source:
                    root.bind(each.target, source, each.read_only)
                case Volume(name):
                    (volume := self._folder / "volumes" / name).mkdir(parents=True, exist_ok=True)
                    root.bind(each.target, volume, each.read_only)
        for name in service.secrets:
            root.put(f"/run/secrets/{name}", self._secrets[name])

    def _wait(self, container: Container) -> None:
        service = container.service
        within_s = _PATIENCE * service.health.within_s
        deadline = time.monotonic() + within_s
        while not container.is_well():
            code = container.process.poll()
            if code is not None or time.monotonic() > deadline:
                within = f"{within_s:.0f} s"
                why = f"isn't well after {within}" if code is None else f"ended with exit code {code}"
                raise Unavailable(f"{service.name} {why}; {container.log}:\n{_end(container.log)}")
            if self._stopping.wait(_ASKED_EVERY_S):
                raise Unavailable(f"{service.name} was given up")


def _network_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh", b"lo", _UP))


def _end(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:])
