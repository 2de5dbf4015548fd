"""`freshet compose --rehearse` in its namespaces: `python -m terminal.containers COMPOSE.YAML FOLDER QUESTION`."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from operations.containers.playing import play
from operations.reporting import Line, Tone
from terminal.lines import printer


def main(file: Path, folder: Path, question: str, console: Console) -> int:
    """Play the file's services, and show how it goes; the exit code."""

    def say(line: Line) -> None:
        # an error stays in one line, as every command's
        printer(console, wrapped=line.tone is not Tone.BAD)(line)

    return play(file, folder, question, say)


if __name__ == "__main__":
    _, compose_file, its_folder, asked_for = sys.argv
    sys.exit(main(Path(compose_file), Path(its_folder), asked_for, Console(highlight=False)))
