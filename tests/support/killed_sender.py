"""A process that sends transactions and kills itself with SIGKILL at a moment of that.

python -m tests.support.killed_sender FOLDER PORT TOKEN KEY,KEY MOMENT
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.support.evm import Anvil, Contract
from tests.support.sending import Sending, Tripwire


class Killed(Tripwire):
    """Ends the whole process."""

    async def end(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


async def main(folder: Path, port: int, token: str, keys: list[str], moment: int) -> None:
    anvil = Anvil()
    anvil.port, anvil.url = port, f"http://127.0.0.1:{port}"
    sending = Sending(folder, anvil, token=Contract(anvil, "Token", token))
    sending.tripwire = Killed(moment)
    async with sending:
        for key in keys:
            await sending.mint(key)
        await sending.settle(*keys)


if __name__ == "__main__":
    folder, port, token, keys, moment = sys.argv[1:]
    asyncio.run(main(Path(folder), int(port), token, keys.split(","), int(moment)))
