"""A reader of the documentation at work: types what the pages say and looks at what they show."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests import resident
from tests.pages import Step, blocks, is_shown, steps

_PATIENCE_S = 400.0
_MOMENT_S = 20.0
LOOKS = ("freshet check ", "freshet search ", "freshet status ")
"""Commands that a reader types again, where what they look at takes a moment: a connector's topic, a change's way."""
STAYS = ("freshet run ", "freshet serve ", "freshet model serve ", "freshet bundle --rehearse ")
_FAIL = {"freshet check broken.yaml": 2, "freshet check wrong.yaml": 1, "freshet check --msf pipeline.yaml": 1}
"""Commands that fail, as their page says."""


@dataclass
class Terminal:
    """A folder in which pages are followed, one after the other; what `STAYS` goes on until `^C`.

    addresses  what the pages write to what it is here: test servers listen on free ports
    """

    folder: Path
    addresses: Mapping[str, str]
    _job: resident.Command | subprocess.Popen[str] | None = field(default=None, init=False)

    def follow(self, page: Path, numbers_vary: bool = False) -> None:
        """Make the page's files and take its steps; each must end and print as the page shows it."""
        try:
            for block in blocks(page):
                if block.title:
                    (self.folder / block.title).write_text(self._here(block.text), encoding="utf-8")
                for step in steps(block) if block.language == "console" else ():
                    shown = tuple(self._here(line) for line in step.shown)
                    self._take(Step(self._here(step.typed), shown), numbers_vary)
        except BaseException:
            self.close()  # its job would have each page behind it fail
            raise

    def close(self) -> None:
        """Leave nothing running."""
        if self._job is not None and self._job.poll() is None:
            resident.kill(self._job)

    def _here(self, text: str) -> str:
        for written, real in self.addresses.items():
            text = text.replace(written, real)
        return text

    def _take(self, step: Step, numbers_vary: bool) -> None:
        if step.typed == "^C":
            self._interrupt(step)
        elif step.typed == "":
            self._look(step)
        elif step.typed.startswith(STAYS):
            self._start(step)
        else:
            self._type(step, numbers_vary)

    def _type(self, step: Step, numbers_vary: bool) -> None:
        deadline = time.monotonic() + _MOMENT_S
        code, printed = self._ended(step.typed)
        while step.typed.startswith(LOOKS) and not is_shown(step.shown, printed) and time.monotonic() < deadline:
            time.sleep(1)
            code, printed = self._ended(step.typed)
        assert code == _FAIL.get(step.typed, 0), f"{step.typed}\n{printed}"
        assert is_shown(step.shown, printed, numbers_vary), _difference(step, printed)

    def _ended(self, typed: str) -> tuple[int, str]:
        """A command's exit code and what it printed."""
        if (ours := _ours(typed)) and typed not in _FAIL:
            output = self.folder / "command.log"
            code = resident.start("commands", ours, self.folder, output, resident.plain()).wait(_PATIENCE_S)
            return code, output.read_text(encoding="utf-8")
        done = subprocess.run(
            ["bash", "-c", typed],
            cwd=self.folder,
            env=resident.plain(),
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def _start(self, step: Step) -> None:
        assert self._job is None or self._job.poll() is not None, f"{step.typed}, while another job runs"
        if (ours := _ours(step.typed)) and ours[0] == "run":
            self._job = resident.start("jobs", ours, self.folder, self._log, resident.plain())
            self._look(step)
            return
        with self._log.open("w", encoding="utf-8") as log:
            # a group of its own, as a terminal makes it: Ctrl-C reaches the JVM and the workers too
            self._job = subprocess.Popen(
                ["bash", "-c", f"exec {step.typed}"],
                cwd=self.folder,
                env=resident.plain(),
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._look(step)

    def _look(self, step: Step) -> None:
        assert self._job is not None, "nothing runs"
        deadline = time.monotonic() + _PATIENCE_S
        while not is_shown(step.shown, self.printed()):
            assert time.monotonic() < deadline, _difference(step, self.printed())
            assert self._job.poll() is None, _difference(step, self.printed())
            time.sleep(0.2)

    def _interrupt(self, step: Step) -> None:
        assert self._job is not None, "nothing runs"
        os.killpg(self._job.pid, signal.SIGINT)
        code = self._job.wait(_PATIENCE_S)
        assert code == 0, self.printed()
        assert is_shown(step.shown, self.printed()), _difference(step, self.printed())

    @property
    def _log(self) -> Path:
        return self.folder / "run.log"

    def printed(self) -> str:
        """What the job that runs, or ran last, has printed."""
        return self._log.read_text(encoding="utf-8")


def _difference(step: Step, printed: str) -> str:
    return f"$ {step.typed}\nshould print\n" + "\n".join(step.shown) + f"\nbut printed\n{printed}"


def _ours(typed: str) -> list[str]:
    """The arguments of a command of ours that needs no shell; none for others."""
    words = [] if re.search(r"[|&;<>$*`]", typed) else shlex.split(typed)
    return words[1:] if words[:1] == ["freshet"] else []
