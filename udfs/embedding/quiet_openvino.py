"""OpenVINO, that tells nobody of its use: importing this module imports it."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

# With that package OpenVINO writes a client's id into the home folder as it is imported, and sends events when it
# converts; without it, it has a stub of its own.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

openvino: Any = import_module("openvino")
