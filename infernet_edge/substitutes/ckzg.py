"""In the place of ckzg: eth-account imports it for transactions with blobs (EIP-4844)."""

from __future__ import annotations

from typing import NoReturn


def _not_in_the_executable(*_arguments: object) -> NoReturn:
    raise NotImplementedError("The executable makes no transactions with blobs.")


blob_to_kzg_commitment = _not_in_the_executable
compute_blob_kzg_proof = _not_in_the_executable
compute_cells_and_kzg_proofs = _not_in_the_executable
load_trusted_setup = _not_in_the_executable
