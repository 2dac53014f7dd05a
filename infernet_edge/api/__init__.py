"""The REST API on the network, served with uvicorn and Starlette."""

import sys
from types import ModuleType

# uvicorn imports its command line, and with it click and process supervisors, and what configures
# logs from files, with pickle and a server for it: 3 MB and 50 ms that are not needed. So empty
# modules replace these during its import.
_NOT_USED = {
    "uvicorn.main": ("main", "run", "Server"),
    "logging.config": (),
    "configparser": ("RawConfigParser",),
}


def _import_uvicorn() -> None:
    replaced = [name for name in _NOT_USED if name not in sys.modules]
    for name in replaced:
        module = sys.modules[name] = ModuleType(name)
        module.__dict__.update(dict.fromkeys(_NOT_USED[name]))
    import uvicorn.config  # noqa: F401 - now, with the empty modules

    for name in replaced:
        del sys.modules[name]


if "uvicorn" not in sys.modules:
    _import_uvicorn()
