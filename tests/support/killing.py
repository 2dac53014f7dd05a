"""A node that kills itself with SIGKILL at a step of one delivery.

NodeProcess(config, folder, command=killed_at("broadcast", 3))  # of the request with nonce 3, or
    # of the contract's own subscription 3, whose input is the one byte 3

The steps: each function that stores or sends something, when it has done so; with "before " in
front of its name, just before.
"""

from __future__ import annotations

import sys

STEPS = (
    "before accepted",
    "accepted",
    "computing",
    "computed",
    "sending",
    "signed",
    "broadcast",
    "sent",
    "before final",
    "final",
    "delivered",
)

_PROGRAM = """
import os
import signal
from functools import wraps
from inspect import isawaitable
from json import loads

from infernet_edge.__main__ import main
from infernet_edge.chain.txm import broadcaster
from infernet_edge.chain.delivery.store import DeliveryStore
from infernet_edge.chain.txm.store import TransactionStore
from infernet_edge.jobs.running.computing import Computing

STEP, NONCE, KEY = {step!r}, {nonce!r}, {key!r}
keys = []  # how those of the transactions begin that are watched
known = set()  # their hashes

def patch(owner, name, step_of):
    original = getattr(owner, name)

    @wraps(original)
    async def patched(*arguments, **named):
        step = step_of(*arguments)
        if isawaitable(step):
            step = await step
        die_at("before", step)
        result = await original(*arguments, **named)
        die_at("", step)
        return result

    setattr(owner, name, patched)

def die_at(when, step):
    if step and STEP == (when + " " + step).strip():
        os.kill(os.getpid(), signal.SIGKILL)

async def delivery_step(store, delivery, *more):
    if NONCE != (delivery.nonce if delivery.delegated else delivery.subscription_id):
        return ""
    keys.append(KEY.format(number=delivery.number))
    return delivery.state

def is_watched(transaction):
    return transaction.key.startswith(tuple(keys))

def signing_step(store, transaction):
    if not is_watched(transaction):
        return ""
    known.add(transaction.hash)
    return "signed"

async def computing_step(orchestrator, containers, data, memory):
    if not isinstance(data, bytes):
        data = b"".join([piece async for piece in data.pieces()])
    return "computed" if loads(data) in ({{"number": NONCE}}, f"{{NONCE:02x}}") else ""

patch(DeliveryStore, "add", delivery_step)
patch(DeliveryStore, "save", delivery_step)
patch(Computing, "compute", computing_step)
patch(TransactionStore, "add", signing_step)
patch(broadcaster, "broadcast", lambda rpc, signed: "broadcast" * (signed.hash in known))
patch(TransactionStore, "finish", lambda store, one, *more: "final" * is_watched(one))
raise SystemExit(main())
"""


def killed_at(step: str, nonce: int, key: str = "delivery:{number}:0") -> tuple[str, ...]:
    """The command of a node that does not survive a step of the delivery for this nonce.

    The data of its request is {"number": nonce}. `key` is how those of the transactions begin that
    are signed, broadcast and final in such steps; {number} stands for the delivery's.
    """
    assert step.removeprefix("before ") in STEPS, step
    return (sys.executable, "-c", _PROGRAM.format(step=step, nonce=nonce, key=key))
