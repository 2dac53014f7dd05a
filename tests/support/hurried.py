"""A node with short timeouts, so that a test need not wait for a minute.

NodeProcess(config, folder, command=hurried(**{"api.json_io._BODY_TIME": 1.0}))
"""

from __future__ import annotations

import sys

_PROGRAM = """
import importlib
for place, value in {settings!r}.items():
    module, _, name = place.rpartition(".")
    module = importlib.import_module("infernet_edge." + module)
    assert hasattr(module, name), place
    setattr(module, name, value)
from infernet_edge.__main__ import main
raise SystemExit(main())
"""

PATIENCE: dict[str, float] = {
    "api.json_io._BODY_TIME": 1.0,
    "api.server._KEEP_ALIVE": 2,
    "api.server._SWEEP": 0.2,
    "api.server._STUCK_TIME": 0.8,
    "api.server._STUCK_TIME_WHEN_FULL": 0.4,
    "api.streams._SENDING_TIME": 1.0,
    "jobs.housekeeping._PERIOD": 0.1,
    "jobs.orchestrator._SAVE_RETRY": 0.1,
    "jobs.orchestrator._GRACE": 1.0,
}


def hurried(settings: dict[str, float] | None = None) -> tuple[str, ...]:
    """The command of a node with other values, in seconds, for some of its constants."""
    return with_values(PATIENCE | (settings or {}))


def with_values(settings: dict[str, float]) -> tuple[str, ...]:
    """The command of a node with other values for these constants alone."""
    return (sys.executable, "-c", _PROGRAM.format(settings=settings))
