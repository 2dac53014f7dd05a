"""Container look-up: what the hash in a subscription of SDK 1.x stands for.

The chain has keccak256(abi.encode(string)) of container ids joined with commas. A hash cannot be
inverted, so the node keeps a table of the chains of its own containers.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterable
from typing import Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from infernet_edge.config.model import Config
from infernet_edge.logs import log_event

logger = logging.getLogger(__name__)

MAX_SETS: Final = 10_000  # 0.2 s to hash, 2 MB; enough for all chains of three of 22
_MAX_LENGTH: Final = 3  # of chains of which the table has all


def container_hash(containers: Iterable[str]) -> bytes:
    """The id on the chain (1.x) of containers that run one after the other."""
    return keccak(encode(["string"], [",".join(containers)]))


class ContainerLookup:
    """The table: chains of different containers up to a length, and `chain.pipelines`.

    Longer chains are left out when all of one length would bring the table over `max_sets`: there
    are n·(n-1)·…·(n-k+1) of length k. What is left out has to be named in `chain.pipelines`.
    """

    def __init__(
        self, config: Config, *, max_length: int = _MAX_LENGTH, max_sets: int = MAX_SETS
    ) -> None:
        identifiers = tuple(container.id for container in config.containers)
        self._sets: dict[bytes, tuple[str, ...]] = {}
        self._add(_pipelines(config, identifiers))
        room = max_sets
        complete = 0
        for length in range(1, min(max_length, len(identifiers)) + 1):
            room -= math.perm(len(identifiers), length)
            if room < 0:
                break
            self._add(itertools.permutations(identifiers, length))
            complete = length
        _log_table(len(self._sets), complete, min(max_length, len(identifiers)))

    def _add(self, chains: Iterable[tuple[str, ...]]) -> None:
        for chain in chains:
            self._sets[container_hash(chain)] = chain

    def __len__(self) -> int:
        return len(self._sets)

    def lookup(self, hash: bytes) -> tuple[str, ...] | None:
        """The containers of a hash; None when this node does not know them."""
        return self._sets.get(hash)


def _pipelines(config: Config, identifiers: tuple[str, ...]) -> list[tuple[str, ...]]:
    chains = []
    for text in config.chain.pipelines:
        chain = tuple(part.strip() for part in text.split(","))
        if unknown := [part for part in chain if part not in identifiers]:
            log_event(
                logger,
                "containers.pipeline_ignored",
                logging.WARNING,
                pipeline=text,
                containers=",".join(unknown),
                advice="name only ids of configured containers in chain.pipelines",
            )
            continue
        chains.append(chain)
    return chains


def _log_table(sets: int, complete: int, wanted: int) -> None:
    log_event(logger, "containers.sets_loaded", sets=sets, all_up_to_length=complete)
    if complete < wanted:
        log_event(
            logger,
            "containers.sets_capped",
            logging.WARNING,
            all_up_to_length=complete,
            advice="name the longer chains that this node serves in chain.pipelines",
        )
