"""Python of ours takes modules from where they are installed, and not from the folder that a command is started from.

That folder may be one that others write files into, as a watched one: a `struct.py` there would be run.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Sequence
from typing import Any

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""The environment of a Python that is started by -c or -m (docs.python.org, "Command line and environment")."""

_WITHOUT_HERE = "import sys; sys.path[:] = filter(None, sys.path)"


def of_the_jvm(packages: Sequence[str]) -> dict[str, str]:
    """The environment of a JVM that starts Python, and has it inside, with these folders of packages.

    Python inside the JVM, which `PYTHONSAFEPATH` is nothing to, looks here first: for its own library too.
    """
    library = [sysconfig.get_path("stdlib"), sysconfig.get_config_var("DESTSHARED") or ""]
    return {"PYTHONPATH": os.pathsep.join(filter(None, [*packages, *library])), **SAFE_PATH}


def leave_out_here(jvm: Any) -> None:
    """Start Python inside the JVM, one for all its jobs, and have it import from PYTHONPATH's folders alone.

    Else it would take from the current folder what it finds nowhere else, and packages in several folders.
    """
    interpreters = jvm.pemja.core
    settings = interpreters.PythonInterpreterConfig.newBuilder().setPythonExec(sys.executable)
    for folder in os.environ["PYTHONPATH"].split(os.pathsep):
        settings = settings.addPythonPaths(folder)
    interpreter = interpreters.PythonInterpreter(settings.build())
    try:
        getattr(interpreter, "exec")(_WITHOUT_HERE)  # noqa: B009
    finally:
        interpreter.close()
