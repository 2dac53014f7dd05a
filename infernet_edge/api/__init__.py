"""The API on the network, spoken by uvicorn and Starlette."""

import sys
from types import ModuleType

if "uvicorn" not in sys.modules:
    # uvicorn's package imports its command line, and with that click and what supervises
    # processes: 2 MB and 40 ms for nothing. So while it is imported, it finds an empty one.
    _command_line = ModuleType("uvicorn.main")
    _command_line.__dict__.update(main=None, run=None, Server=None)
    sys.modules["uvicorn.main"] = _command_line
    import uvicorn  # noqa: F401 - now, with the empty one

    del sys.modules["uvicorn.main"]
