"""Where processes listen, and what a stranger gets who knocks at a job's doors."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def elsewhere(processes: Iterable[int]) -> tuple[int, list[str]]:
    """How many sockets these processes and all below them listen on, and those that other machines can reach."""
    found, open_to_all = 0, []
    for pid in processes:
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                for connection in each.net_connections("inet"):
                    if connection.status == psutil.CONN_LISTEN:
                        found += 1
                        if connection.laddr.ip not in LOOPBACK:
                            open_to_all.append(f"{each.name()} {connection.laddr.ip}:{connection.laddr.port}")
    return found, open_to_all


def files_of(pid: int, below: Path) -> set[Path]:
    """What a process and those below it have open or mapped of the files below a folder."""
    of, found = psutil.Process(pid), set[Path]()
    for each in (of, *of.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            found |= {Path(file.path) for file in (*each.open_files(), *each.memory_maps())}
    return {file for file in found if below in file.parents}


def ports(pid: int) -> set[int]:
    """The ports that a process and those below it listen on."""
    of = psutil.Process(pid)
    return {
        connection.laddr.port
        for each in (of, *of.children(recursive=True))
        for connection in each.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def submitted_by_a_page(rest: str) -> dict[str, tuple[int, str | None]]:
    """Status and allowed origin of each way to have Flink run a stranger's code, as another site's page would ask."""
    page = {"Origin": "http://another.example"}
    graph = {"jobGraphFileName": "graph", "jobJarFileNames": ["a.jar"], "jobArtifactFileNames": []}
    job = {"request": (None, json.dumps(graph), "application/json"), "file_0": ("graph", b"\xac\xed\x00\x05")}
    jar = {"jarfile": ("a.jar", b"PK\x03\x04", "application/x-java-archive")}
    asked = httpx.Request("POST", f"{rest}/jobs", files=job)
    chunked = {**page, "Content-Type": asked.headers["Content-Type"]}
    answers = {
        "jar": httpx.post(f"{rest}/jars/upload", files=jar, headers=page),
        "job": httpx.post(f"{rest}/jobs", files=job, headers=page),
        "job in chunks": httpx.post(f"{rest}/jobs", content=_pieces(asked.read()), headers=chunked),
        "what it is set to": httpx.get(f"{rest}/config", headers=page),
    }
    allowed = "Access-Control-Allow-Origin"
    return {name: (answer.status_code, answer.headers.get(allowed)) for name, answer in answers.items()}


def obeyed(pid: int) -> list[bytes]:
    """What each port answers to py4j's way of asking the JVM for a property, without a token."""
    said = []
    for port in ports(pid):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"c\nz:java.lang.System\ngetProperty\nsjava.version\ne\n")
            said.append(connection.recv(1_000))
    return said


def _pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 100):
        yield content[start : start + 100]
