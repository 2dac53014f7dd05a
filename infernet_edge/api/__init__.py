"""The REST API on the network, served with uvicorn and Starlette."""

import sys
from types import ModuleType

if "uvicorn" not in sys.modules:
    # uvicorn's package imports its command line, and with it click and process supervisors: 2 MB
    # and 40 ms that are not needed. So an empty module replaces it during the import.
    _command_line = ModuleType("uvicorn.main")
    _command_line.__dict__.update(main=None, run=None, Server=None)
    sys.modules["uvicorn.main"] = _command_line
    import uvicorn  # noqa: F401 - now, with the empty module

    del sys.modules["uvicorn.main"]
